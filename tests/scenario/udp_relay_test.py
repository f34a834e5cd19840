"""UDP through the gateway: who stays with which instance, and until when; bursts; addresses."""

import collections
import os
import signal
import socket
import threading
import time

import pytest

from harness import clients
from harness.clients import ask_udp
from harness.processes import descriptors

PORT = 4500
pytestmark = pytest.mark.both_accounts
UDP_SEGMENT = 103


def echo(programs, instances=3, listen="", address=PORT, more=""):
    return f"""
        service echo {{ run {programs.built("echo_udp")}; env WHO=$instance; instances {instances}; {more} }}
        listen {address} udp -> echo port=4001 path=relay {listen};"""


def udp(source="127.0.0.1", port=0):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((source, port))
    return made


def patient(client, host="127.0.0.1", message=b"hello", within=5):
    """Asks until there is an answer: what is on its way to a dying instance is lost."""
    deadline = time.monotonic() + within
    while True:
        try:
            return ask_udp(PORT, host, message, timeout=0.2, client=client)
        except OSError:
            assert time.monotonic() < deadline, "nobody answers"


def test_a_client_stays_with_its_instance(cluster, programs):
    cluster.up(echo(programs))
    cluster.wait_up(3)
    homes = collections.Counter()
    for _ in range(60):
        with udp() as client:
            found = {ask_udp(PORT, client=client) for _ in range(5)}
            assert len(found) == 1
            homes.update(found)
    assert set(homes) == {"1", "2", "3"}
    assert max(homes.values()) - min(homes.values()) < 30, homes
    # To another port, the same client is another session.
    assert cluster.service()["path"] == "relay"


def sources_stay():
    """Where twelve addresses are, of which each asks from twelve ports."""
    homes = set()
    for host in range(1, 13):
        found = collections.Counter()
        for _ in range(12):
            with udp(f"127.0.3.{host}") as client:
                found[ask_udp(PORT, client=client)] += 1
        assert len(found) == 1, f"127.0.3.{host} is at {found}"
        homes |= set(found)
    return homes


def test_a_source_stays_with_its_instance(cluster, programs):
    """All ports of an address: also of those that other threads of the gateway get."""
    cluster.up("gateway threads=4;" + echo(programs, listen="sticky=source"))
    cluster.wait_up(3)
    assert sources_stay() == {"1", "2", "3"}


def test_stickiness_changes(cluster, programs):
    cluster.up("gateway threads=4;" + echo(programs, listen="sticky=client idle=200ms"))
    cluster.wait_up(3)
    for _ in range(20):
        assert ask_udp(PORT) in {"1", "2", "3"}
    cluster.configure("gateway threads=4;" + echo(programs, listen="sticky=source") +
                      "listen 9000 http { respond 204; }")
    cluster.command("reload")
    cluster.wait(lambda: clients.answer(9000, path="/") is not None, 5, "the listener")
    assert sources_stay() == {"1", "2", "3"}


def test_a_token_stays_with_its_instance(cluster, programs):
    """The client may change its address, and gets its answers there."""
    cluster.up("gateway threads=4;" + echo(programs, listen="sticky=token token=2:4"))
    cluster.wait_up(3)
    homes = set()
    for number in range(12):
        message = b"v1%04dhello" % number
        found = collections.Counter()
        for _ in range(12):
            with udp() as client:
                found[ask_udp(PORT, message=message, client=client)] += 1
        assert len(found) == 1, f"token {number} is at {found}"
        homes |= set(found)
    assert homes == {"1", "2", "3"}
    with udp() as client:  # too short for a token: by its address
        assert ask_udp(PORT, message=b"v1", client=client) in {"1", "2", "3"}


def sockets_of(cluster):
    return sum(link.startswith("socket:") for link in descriptors(cluster.status()["gateway_pid"]).values())


def test_silent_sessions_end(cluster, programs):
    cluster.up(echo(programs, listen="idle=400ms"))
    cluster.wait_up(3)
    before = sockets_of(cluster)
    held = [udp() for _ in range(50)]
    for client in held:
        ask_udp(PORT, client=client)
    assert sockets_of(cluster) >= before + 50
    home = {ask_udp(PORT, client=held[0]) for _ in range(10) if not time.sleep(0.1)}
    assert len(home) == 1, "one that is not silent was ended"
    cluster.wait(lambda: sockets_of(cluster) <= before + 1, 5, "the others to end")
    for client in held:
        assert ask_udp(PORT, client=client) in {"1", "2", "3"}
        client.close()


def test_a_death_moves_its_clients(cluster, programs):
    cluster.up(echo(programs, more="restart never;"))
    before = cluster.wait_up(3)
    held = [udp() for _ in range(30)]
    homes = [ask_udp(PORT, client=client) for client in held]
    os.kill(before[2]["pid"], signal.SIGKILL)
    cluster.wait_state("failed", number=2)
    for client, home in zip(held, homes):
        now = patient(client)
        assert now == home if home != "2" else now in {"1", "3"}
        client.close()


def test_the_only_instance_restarts(cluster, programs):
    cluster.up(echo(programs, instances=1))
    cluster.wait_up(1)
    with udp() as client:
        for _ in range(3):
            pid = cluster.pid(1)
            assert ask_udp(PORT, client=client) == "1"
            os.kill(pid, signal.SIGKILL)
            assert patient(client) == "1"
            cluster.wait_restarted(1, pid)


def test_the_answer_comes_from_whom_was_asked(cluster, programs):
    cluster.up(echo(programs) + f"listen [::1]:4600 udp -> echo port=4001 path=relay;"
               f"listen 127.0.0.9:4601 udp -> echo port=4001 path=relay;")
    cluster.wait_up(3)
    for host in ("127.0.0.1", "127.0.0.2", "127.1.2.3"):
        for _ in range(5):
            assert ask_udp(PORT, host) in {"1", "2", "3"}
    with udp() as client:  # one client, two addresses, in turn
        for host in ("127.0.0.2", "127.0.0.3") * 5:
            assert ask_udp(PORT, host, client=client) in {"1", "2", "3"}
    assert ask_udp(PORT, "::1") in {"1", "2", "3"}
    assert ask_udp(4600, "::1") in {"1", "2", "3"}
    assert ask_udp(4601, "127.0.0.9") in {"1", "2", "3"}


def collect(client, count, within=5):
    found = []
    client.settimeout(within)
    try:
        while len(found) < count:
            found.append(client.recv(2048))
            client.settimeout(0.5)
    except TimeoutError:
        pass
    return found


def test_bursts(cluster, programs):
    """Datagrams that the client's kernel sends as one, and very many at once from many clients."""
    cluster.up(echo(programs, instances=1))
    cluster.wait_up(1)
    with udp() as client:
        client.connect(("127.0.0.1", PORT))
        ask_udp(PORT, client=udp())
        client.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1000)
        pieces = [bytes([65 + number]) * (1000 if number < 39 else 300) for number in range(40)]
        for _ in range(5):
            client.send(b"".join(pieces))
            answers = collect(client, 40)
            assert sorted(answer.split(b" ", 2)[2] for answer in answers) == pieces
    many = [udp() for _ in range(100)]
    for turn in range(5):
        for client in many:
            client.sendto(b"%d" % turn, ("127.0.0.1", PORT))
        for client in many:
            assert collect(client, 1)[0].endswith(b" %d" % turn)
    for size in (0, 1, 1000, 1024):
        assert ask_udp(PORT, message=b"x" * size, client=many[0]) == "1"
    for client in many:
        client.close()


def test_a_thousand_sessions_over_reloads(cluster, programs):
    cluster.up(echo(programs))
    cluster.wait_up(3)
    held = [udp() for _ in range(1000)]
    homes = [ask_udp(PORT, client=client) for client in held]
    for number in range(10):
        cluster.configure(echo(programs, more=f"capacity connections={5000 + number};") +
                          f"listen {9000 + number} http {{ respond 204; }}")
        cluster.command("reload")
        cluster.wait(lambda: clients.answer(9000 + number, path="/") is not None, 5, "the listener")
        for client, home in list(zip(held, homes))[number::10]:
            assert ask_udp(PORT, client=client) == home
    assert [ask_udp(PORT, client=client) for client in held] == homes
    for client in held:
        client.close()


def test_no_datagram_is_lost_while_a_supervisor_takes_over(cluster, programs):
    """The board knows where adopted instances listen before they are heard of again."""
    cluster.up(echo(programs))
    cluster.wait_up(3)
    over, lost, answered = threading.Event(), [], []

    def ask():
        with udp() as client:
            while not over.wait(0.002):
                try:
                    answered.append(ask_udp(PORT, client=client, timeout=2))
                except OSError as error:
                    lost.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        os.kill(cluster.supervisor(), signal.SIGKILL)
        cluster.process.wait()
        time.sleep(0.3)  # they are asked while nobody supervises
        cluster.up()
        cluster.wait_up(3)
    over.set()
    for thread in threads:
        thread.join()
    assert not lost and len(answered) > 300, (len(answered), lost[:3])


@pytest.mark.parametrize("program, port", [("python", 4000), ("c", 4001)])
def test_an_instance_restarts_between_two_supervisors(cluster, programs, program, port):
    """It is given the socket that was its predecessor's: with two of them some datagrams reach nobody."""
    command = programs.python("echo_udp") if program == "python" else programs.built("echo_udp")
    cluster.up(f"""
        service echo {{ run {command}; env WHO=$instance; instances 3; restart always backoff=10ms..50ms; }}
        listen {PORT} udp -> echo port={port};""")
    cluster.wait_up(3)
    for _ in range(2):
        os.kill(cluster.supervisor(), signal.SIGKILL)
        cluster.process.wait()
        cluster.up()
        pid = cluster.wait_up(3)[3]["pid"]
        if cluster.instances()[3]["restarts"] == 0:
            os.kill(pid, signal.SIGKILL)
            cluster.wait_restarted(3, pid)
    many = [udp() for _ in range(60)]
    assert {ask_udp(PORT, client=client, timeout=2) for client in many} == {"1", "2", "3"}
    for client in many:
        client.close()
