"""Services that are several servers: who is the primary is found by a check, listeners and routes lead
to a role, and a promotion is followed at once."""

import os
import re
import signal
import subprocess
import threading

import pytest

from harness import clients
from harness.websocket import Closed, WebSocket

both_accounts = pytest.mark.both_accounts

WRITES, READS, REQUESTS = 8080, 8081, 8082


def roles(cluster, programs, words, service="", listen=""):
    """Three instances whose roles are what the files say; the roles' folder."""
    folder = cluster.folder("roles")
    for number, word in enumerate(words, 1):
        says(folder, number, word)
    # What the command says besides is its own business, and goes to the log.
    (folder / "ask").write_text(f'echo "looking at $1" >&2; exec cat {folder}/$1')
    cluster.up(f"""
        service db {{
            run {programs.python("web")}; env WHO=$instance; port 8000; instances {len(words)};
            role exec sh {folder}/ask $instance every=50ms fall=2;
            hold within=20s; {service}
        }}
        listen {WRITES} tcp -> db role=primary;
        listen {READS} tcp -> db role=replica;
        listen {REQUESTS} http {{
            route / -> db role=primary;
            route /peer -> db role=replica-or-primary;
        }}
        {listen}""")
    cluster.wait_up(len(words))
    return folder


def says(folder, number, word):
    (folder / "new").write_text(word)
    (folder / "new").rename(folder / str(number))


def wait_roles(cluster, *wanted):
    def check():
        found = tuple(instance["role"] for instance in cluster.instances("db").values())
        assert found == wanted, found
    cluster.wait(lambda: check() is None, 10, f"the roles to be {wanted}")


def later(ask):
    """Asks in a thread of its own; call the result for the answer."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask()))
    thread.start()

    def join(timeout=15):
        thread.join(timeout)
        return answers[0] if answers else None
    return join


def closed(connection):
    """Did the other end close it (or reset it)?"""
    connection.settimeout(5)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@both_accounts
def test_roles_lead_and_a_promotion_is_followed(cluster, programs):
    folder = roles(cluster, programs, ("primary\n", "replica", "replica"))
    wait_roles(cluster, "primary", "replica", "replica")
    assert clients.who_answers(WRITES, 6) == {"1": 6}
    assert set(clients.who_answers(READS, 10)) == {"2", "3"}
    assert clients.who_answers(REQUESTS, 6) == {"1": 6}
    assert re.search(r"\bprimary\b", cluster.command("status").stdout)
    assert "looking at 3" in cluster.output

    with clients.Held(WRITES, 4) as writers, clients.Held(READS, 4) as readers:
        assert writers.spread() == {"1": 4}
        says(folder, 2, "primary")  # two say so: who newly does is it
        wait_roles(cluster, "deposed", "primary", "replica")
        assert all(closed(writer) for writer in writers.connections)
        # Who reads of the one that was promoted reads on.
        assert sum(readers.spread().values()) == 4
    assert re.search(r"primary-deposed instance=db\.1 ", cluster.output)
    assert clients.who_answers(WRITES, 6) == {"2": 6}
    assert clients.who_answers(REQUESTS, 6) == {"2": 6}
    assert clients.who_answers(READS, 6) == {"3": 6}
    says(folder, 1, "replica")
    wait_roles(cluster, "replica", "primary", "replica")
    assert set(clients.who_answers(READS, 10)) == {"1", "3"}


def test_websockets_of_who_is_demoted_are_closed(cluster, programs):
    folder = cluster.folder("roles")
    for number, word in enumerate(("primary", "replica"), 1):
        says(folder, number, word)
    cluster.up(f"""
        service db {{ run node {programs.path("websocket.js")}; env WHO=$instance NODE_PATH=/usr/share/nodejs;
            port 8100; instances 2;
            role exec cat {folder}/$instance every=50ms; }}
        listen {REQUESTS} http {{ route /writes -> db role=primary; route /reads -> db role=replica; }}""")
    cluster.wait_up(2, within=20)
    wait_roles(cluster, "primary", "replica")
    sockets = {path: WebSocket(REQUESTS, path=path) for path in ("/writes", "/reads")}
    for path, number in (("/writes", "1"), ("/reads", "2")):
        sockets[path].send("who")
        assert sockets[path].receive().split()[0] == number
    says(folder, 2, "primary")
    wait_roles(cluster, "deposed", "primary")
    with pytest.raises((Closed, ConnectionError)):
        sockets["/writes"].receive()
    sockets["/reads"].send("who")
    assert sockets["/reads"].receive().split()[0] == "2"
    again = WebSocket(REQUESTS, path="/writes")
    again.send("who")
    assert again.receive().split()[0] == "2"


def test_without_a_primary_connections_wait(cluster, programs):
    folder = roles(cluster, programs, ("replica", "replica", "primary"))
    wait_roles(cluster, "replica", "replica", "primary")
    says(folder, 3, "replica")
    wait_roles(cluster, "replica", "replica", "replica")
    assert "no-primary service=db" in cluster.output
    asked = [later(lambda: clients.who(WRITES, timeout=15)), later(lambda: clients.who(REQUESTS, timeout=15))]
    # Who waits for the primary keeps no reader waiting.
    assert set(clients.who_answers(READS, 12)) == {"1", "2", "3"}
    assert asked[0](0.3) is None
    says(folder, 2, "primary")
    assert [answer() for answer in asked] == ["2", "2"]


def test_a_replica_or_the_primary(cluster, programs):
    folder = roles(cluster, programs, ("primary", "replica"))
    wait_roles(cluster, "primary", "replica")

    def reads():
        return {instance["id"]: instance["requests_total"] for instance in cluster.instances("db").values()}

    before = reads()
    for _ in range(5):
        clients.ask(REQUESTS, path="/peer")
    assert reads()[2] == before[2] + 5
    says(folder, 2, "I do not know")
    wait_roles(cluster, "primary", None)
    assert "prints neither" in cluster.output
    clients.ask(REQUESTS, path="/peer")
    assert reads()[1] == before[1] + 1
    waits = later(lambda: clients.who(READS, timeout=15))  # nobody but a replica will do
    assert waits(0.2) is None
    says(folder, 2, "replica")
    assert waits() == "2"


def test_terms_are_heeded(cluster, programs):
    """A primary of before that comes back, and knows of nothing, gets no writes."""
    folder = roles(cluster, programs, ("primary 1", "replica", "replica"))
    wait_roles(cluster, "primary", "replica", "replica")
    old = cluster.pid(1, "db")
    os.kill(old, signal.SIGSTOP)
    says(folder, 2, "primary 2")
    wait_roles(cluster, "deposed", "primary", "replica")
    os.kill(old, signal.SIGCONT)
    os.kill(old, signal.SIGKILL)
    cluster.wait_restarted(1, old, "db")
    wait_roles(cluster, "deposed", "primary", "replica")
    assert clients.who_answers(WRITES, 4) == {"2": 4}
    says(folder, 2, "replica")
    wait_roles(cluster, "deposed", "replica", "replica")  # not even now
    says(folder, 1, "primary 3")
    wait_roles(cluster, "primary", "replica", "replica")


def test_roles_outlive_a_crash_of_the_supervisor(cluster, programs):
    folder = roles(cluster, programs, ("primary", "replica", "replica"))
    wait_roles(cluster, "primary", "replica", "replica")
    says(folder, 2, "primary")
    wait_roles(cluster, "deposed", "primary", "replica")
    cluster.kill_supervisor()
    with clients.Held(WRITES, 3) as held:
        assert held.spread() == {"2": 3}
        cluster.up()
        cluster.wait_up(3)
        wait_roles(cluster, "deposed", "primary", "replica")
        assert held.spread() == {"2": 3}
    says(folder, 3, "primary")
    says(folder, 2, "replica")
    wait_roles(cluster, "deposed", "replica", "primary")
    assert clients.who_answers(WRITES, 4) == {"3": 4}


def test_a_reload_changes_who_finds_out(cluster, programs):
    roles(cluster, programs, ("primary", "replica"))
    wait_roles(cluster, "primary", "replica")
    text = (cluster.directory / "enginx.conf").read_text()
    cluster.configure(re.sub(r"role exec [^;]*;", "role exec echo replica every=50ms;", text))
    cluster.command("reload")
    wait_roles(cluster, "replica", "replica")
    cluster.configure(re.sub(r"role exec [^;]*;|role=[a-z-]+", "", text))
    cluster.command("reload")
    wait_roles(cluster, None, None)
    assert set(clients.who_answers(WRITES, 8)) == {"1", "2"}


def redis(port, *words, host="127.0.0.1"):
    done = subprocess.run(["redis-cli", "-h", host, "-p", str(port), *words], capture_output=True, text=True,
                          timeout=10, check=False)
    return done.stdout.strip()


def test_redis_itself_is_asked(cluster):
    cluster.up(f"""
        service first {{ run redis-server --port 7001 --save "" --bind 127.0.0.1; port 7001; }}
        service second {{ run redis-server --port 7002 --save "" --bind 127.0.0.1
            --replicaof 127.0.0.1 7001; port 7002; }}
        service cache {{ at 127.0.0.1:7001 127.0.0.1:7002; role redis every=100ms; hold within=20s; }}
        listen {WRITES} tcp -> cache role=primary;
        listen {READS} tcp -> cache role=replica;""")
    cluster.wait_up(1, "first")
    cluster.wait_up(1, "second")
    assert redis(WRITES, "SET", "key", "1") == "OK"
    cluster.wait(lambda: redis(READS, "GET", "key") == "1", 10, "the replica to have it")
    assert redis(READS, "SET", "key", "2").startswith("READONLY")
    # A failover as an operator does it: one is promoted, the other follows it.
    assert redis(7002, "REPLICAOF", "NO", "ONE") == "OK"
    assert redis(7001, "REPLICAOF", "127.0.0.1", "7002") == "OK"
    cluster.wait(lambda: "role:slave" in redis(READS, "INFO", "replication"), 10, "the replica")
    cluster.wait(lambda: redis(WRITES, "SET", "key", "3") == "OK", 10, "writes to go to the new one")
    events = cluster.command("events", "-n", "1000").stdout
    for port, role in ((7001, "primary"), (7002, "replica"), (7002, "primary"), (7001, "replica")):
        assert f"remote-role service=cache endpoint=127.0.0.1:{port} role={role} " in events
    assert redis(7002, "GET", "key") == "3"
    cluster.wait(lambda: redis(READS, "GET", "key") == "3", 10, "the old one to follow")


def test_redis_as_instances(cluster):
    cluster.up(f"""
        service cache {{
            run redis-server --port 7001 --save "" --protected-mode no;
            port 7001; instances 2; role redis every=100ms; hold within=20s;
        }}
        listen {WRITES} tcp -> cache role=primary;
        listen {READS} tcp -> cache role=replica;""")
    instances = cluster.wait_up(2)
    first, second = instances[1]["address"], instances[2]["address"]
    assert redis(7001, "REPLICAOF", first, "7001", host=second) == "OK"

    def found():
        return [instance["role"] for instance in cluster.instances().values()]
    cluster.wait(lambda: found() == ["primary", "replica"], 10, "their roles")
    assert redis(WRITES, "SET", "key", "1") == "OK"
    assert "role:slave" in redis(READS, "INFO", "replication")
    os.kill(instances[1]["pid"], signal.SIGSTOP)  # it hangs: it is the primary no longer
    assert redis(7001, "REPLICAOF", "NO", "ONE", host=second) == "OK"
    cluster.wait(lambda: found()[1] == "primary", 10, "the second to be the primary")
    assert redis(WRITES, "SET", "key", "2") == "OK"
    assert redis(7001, "GET", "key", host=second) == "2"
    os.kill(instances[1]["pid"], signal.SIGCONT)
