"""Who floods a listener is banned for a time, and nobody else notices: by connections, by requests, over
HTTP/1.1, HTTP/2, TCP and UDP, on all workers together — and is banned still when enginx's own processes
have died or were replaced. Also who may send datagrams at all."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness import clients, processes
from harness.clients import ask_udp
from harness.network import Network, ip
from reload_test import reload
from supervisor_crash_test import kill

PORT, METRICS, TCP, UDP = 18080, 18081, 18082, 18083
HERE, THERE = "10.99.0.1", "10.99.0.2"
both_accounts = pytest.mark.both_accounts


def configured(programs, block="", more="", trust=""):
    return (f"gateway threads=2; metrics 127.0.0.1:{METRICS};\n"
            f"service web {{ run {programs.python('web')}; env WHO=web; }}\n"
            f"service echo {{ run {programs.built('echo_udp')}; env WHO=echo; }}\n"
            f"listen {PORT} http {{ {trust} {block} access-log json; route / -> web; "
            f"route /flood {{ respond 200 \"here\"; }} }}\n{more}")


@pytest.fixture
def site(cluster, programs):
    def start(block="", more="", **options):
        cluster.up(configured(programs, block, more, **options))
        cluster.wait_up(1, "web")
        cluster.wait_up(1, "echo")
        cluster.wait(lambda: not clients.refused(METRICS), 5, "the gateway")
    return start


def status(source="127.0.0.1", port=PORT, host="127.0.0.1", headers={}):
    """Of a request over a connection of its own; None: the connection was closed without an answer."""
    connection = http.client.HTTPConnection(host, port, timeout=10, source_address=(source, 0))
    try:
        connection.request("GET", "/whoami", headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (ConnectionError, http.client.RemoteDisconnected):
        return None
    finally:
        connection.close()


def bans(cluster):
    """Client → what is told of its ban."""
    told = json.loads(cluster.command("bans", "--json").stdout)
    assert told["count"] == len(told["clients"])
    return {one["client"]: one for one in told["clients"]}


def banned_events(cluster):
    lines = cluster.command("events", "--json").stdout.splitlines()
    return [event["fields"] for event in map(json.loads, lines) if event["event"] == "client-banned"]


def metric(name):
    page = clients.ask(METRICS, path="/metrics")
    return sum(map(float, re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", page, re.M)))


def served(path):
    """Requests of this route that were answered with 200."""
    page = clients.ask(METRICS, path="/metrics")
    return sum(map(float, re.findall(rf'^enginx_route_requests_total{{.*route="\* /{path}",class="2xx"}} (\S+)$', page, re.M)))


def flood(source, port=PORT, requests=40):
    """One connection after the other, each with a request, until one is not answered."""
    for made in range(requests):
        if status(source, port) != 200:
            return made
    pytest.fail(f"{requests} connections of {source} were all served")


class Steady:
    """A client that asks some thirty times a second, each time over a connection of its own."""

    def __init__(self, source="127.0.0.1"):
        self.source, self.answers, self.ending = source, [], threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        while not self.ending.wait(0.03):
            self.answers.append(status(self.source))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join(15)


@pytest.fixture
def attacker(network):
    other = Network()
    network.connect(other, f"{HERE}/24", f"{THERE}/24")
    yield other
    other.close()


WRK = ["wrk", "-t2", "-c16", "-d1s", f"http://{HERE}:{PORT}/flood"]
H2LOAD = ["h2load", "-n20000", "-c2", "-m50", f"http://{HERE}:{PORT}/flood"]


@pytest.mark.parametrize("tool", [WRK, H2LOAD], ids=["wrk", "h2load"])
def test_a_flood_of_requests(cluster, site, attacker, tool):
    site("flood requests=300/s ban=1h;")
    with Steady() as steady:
        processes.wait_for(lambda: len(steady.answers) > 5, 10, "answers")
        with attacker.inside():
            subprocess.run(tool, capture_output=True, timeout=60)
            assert status("0.0.0.0", host=HERE) is None
        before = len(steady.answers)
        processes.wait_for(lambda: len(steady.answers) > before + 5, 10, "answers")
    assert set(steady.answers) == {200}
    one, = bans(cluster).values()
    assert (one["client"], one["why"]) == (THERE, "requests") and 3500 < one["seconds"] <= 3600
    lines = cluster.command("bans").stdout.splitlines()
    # Two clocks are read for the time of its end, so it may differ by a millisecond.
    client, until, why = lines[1].split()
    assert (len(lines), client, why, until[:10]) == (2, THERE, "requests", one["until"][:10])
    event, = banned_events(cluster)
    assert event == {"client": THERE, "seconds": 3600, "untold": 0, "why": f"too many requests at tcp:{PORT}"}
    assert served("flood") < 300 + 300 * 5, "what the bucket and its rate give, not the flood"
    assert (metric("enginx_bans"), metric("enginx_bans_total")) == (1, 1)
    assert metric("enginx_listener_guard_refused_total") > 0
    assert cluster.command("bans", "--lift", THERE).stdout == "lifted: 1\n"
    with attacker.inside():
        assert status("0.0.0.0", host=HERE) == 200
    assert bans(cluster) == {}


def test_a_ban_ends_by_itself(cluster, site):
    site("flood connections=5/h ban=1s;")
    began = time.monotonic()
    assert flood("127.0.0.2") == 5
    assert status("127.0.0.3") == 200
    # The bucket is still empty: the ban is over, and the next connection is the next ban.
    cluster.wait(lambda: bans(cluster) == {}, 5, "its end")
    assert time.monotonic() - began >= 1
    assert status("127.0.0.2") is None
    assert set(bans(cluster)) == {"127.0.0.2"}
    assert metric("enginx_bans_total") == 2


def test_connections_that_are_open(cluster, site):
    """Who is banned while it keeps connections alive is told so on them, and they end."""
    site("flood requests=5/h ban=1h;")
    kept = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10, source_address=("127.0.0.2", 0))
    answers = []
    for _ in range(6):
        kept.request("GET", "/whoami")
        answers.append(kept.getresponse())
        answers[-1].read()
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert 3590 < int(answers[-1].getheader("Retry-After")) <= 3600
    assert answers[-1].getheader("Connection") == "close"
    kept.close()
    done = subprocess.run(["h2load", "-n20", "-c1", "-m1", f"http://127.0.0.1:{PORT}/whoami"],
                          capture_output=True, text=True, timeout=30)
    assert "status codes: 5 2xx, 0 3xx, 1 4xx, 0 5xx" in done.stdout, "and GOAWAY"
    assert set(bans(cluster)) == {"127.0.0.2", "127.0.0.1"}
    path = cluster.state / "log" / "access.log"
    processes.wait_for(lambda: path.exists() and len(path.read_text().splitlines()) >= 12, 5, "the log")
    failures = [json.loads(line)["failure"] for line in path.read_text().splitlines()]
    assert failures.count("client: flood") == 2


def test_connections_of_all_workers_count_together(cluster, site):
    """Exactly, also when they come at once."""
    site(more=f"listen {TCP} tcp -> web {{ flood connections=20/h ban=1h except=127.0.1.0/24; }}")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(status("127.0.0.2", TCP))) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, answers)) == ["200"] * 20 + ["None"] * 40
    assert metric("enginx_bans_total") == 1, "once, whichever worker was first"
    assert status("127.0.0.2") == 200, "the other listener has no `flood`"
    assert [status("127.0.1.1", TCP) for _ in range(30)] == [200] * 30
    assert status("127.0.0.3", TCP) == 200


def test_connections_at_a_time(cluster, site):
    site(more=f"listen {TCP} tcp -> web {{ flood concurrent=4 ban=1h; }}")
    held = [socket.create_connection(("127.0.0.1", TCP), 5, ("127.0.0.2", 0)) for _ in range(4)]
    for _ in range(3):  # those that are over count no more
        held.pop().close()
        cluster.wait(lambda: metric("enginx_listener_connections") == 3, 5, "its end")
        held.append(socket.create_connection(("127.0.0.1", TCP), 5, ("127.0.0.2", 0)))
        cluster.wait(lambda: metric("enginx_listener_connections") == 4, 5, "the next")
    assert bans(cluster) == {}
    assert status("127.0.0.2", TCP) is None
    assert bans(cluster)["127.0.0.2"]["why"] == "concurrent connections"
    held[0].sendall(b"GET /whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert held[0].recv(100).startswith(b"HTTP/1.1 200"), "what is open stays open"
    for one in held:
        one.close()


@both_accounts
def test_bans_outlive_processes(cluster, site):
    site("flood connections=3/h ban=1h;")
    flood("127.0.0.2")
    before = bans(cluster)["127.0.0.2"]
    gateway = cluster.status()["gateway_pid"]
    os.kill(gateway, signal.SIGKILL)
    cluster.wait(lambda: cluster.status()["gateway_pid"] not in (0, gateway), 5, "another gateway")
    cluster.wait(lambda: status("127.0.0.4") == 200, 5, "another gateway's answer")
    assert status("127.0.0.2") is None, "the next gateway knows of it"
    kill(cluster, cluster.supervisor())
    assert status("127.0.0.2") is None
    cluster.up(None)
    cluster.wait(lambda: cluster.status(), 10, "the next supervisor")
    assert abs(bans(cluster)["127.0.0.2"]["seconds"] - before["seconds"]) < 60
    assert "upgraded from" in cluster.command("upgrade", timeout=60).stdout
    assert status("127.0.0.2") is None
    assert cluster.command("bans", "--lift", "all").stdout == "lifted: 1\n"
    # A gateway that drains has the old buckets, and takes no connections: these are another one's.
    assert status("127.0.0.2") == 200


def test_a_reload_changes_what_is_too_much(cluster, site, programs):
    site("flood connections=3/h ban=1h;")
    flood("127.0.0.2")
    reload(cluster, configured(programs, "flood connections=1000/s ban=1h;"))
    cluster.wait(lambda: status("127.0.0.3") == 200)
    assert status("127.0.0.2") is None, "a ban stays over a reload"
    assert [status("127.0.0.3") for _ in range(9)] == [200] * 9
    reload(cluster, configured(programs))
    cluster.wait(lambda: status("127.0.0.2") == 200, 5, "a listener without `flood`")
    reload(cluster, configured(programs, "flood concurrent=100;"))
    cluster.wait(lambda: status("127.0.0.2") is None, 5, "the ban, which is not over")


def test_proxies_are_not_banned(cluster, site):
    """The client is whom a trusted proxy names; what of it comes by itself is refused as well."""
    site("flood requests=5/h connections=5/h ban=1h;", trust="trust 127.0.0.1;")
    proxy = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)

    def through(client):
        proxy.request("GET", "/whoami", headers={"X-Forwarded-For": client})
        answer = proxy.getresponse()
        answer.read()
        return answer.status

    assert [through("127.0.0.9") for _ in range(6)] == [200] * 5 + [429]
    socket_before = proxy.sock
    assert through("127.0.0.8") == 200 and proxy.sock is socket_before, "the proxy's connection goes on"
    assert [status(headers={"X-Forwarded-For": "127.0.0.7"}) for _ in range(6)] == [200] * 5 + [429]
    assert status("127.0.0.9") is None
    assert set(bans(cluster)) == {"127.0.0.9", "127.0.0.7"}
    proxy.close()


def test_whom_a_proxy_header_names_is_banned(cluster, site):
    site(more=f"listen {TCP} tcp -> web {{ proxy-protocol 127.0.0.1/32; flood connections=2/h ban=1h; }}")

    def through(client):
        with socket.create_connection(("127.0.0.1", TCP), 10) as proxy:
            try:
                proxy.sendall(f"PROXY TCP4 {client} 127.0.0.1 1000 {TCP}\r\n".encode() +
                              b"GET /whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return proxy.recv(100)[:12]
            except ConnectionError:
                return b""

    answers = [through("127.0.0.9") for _ in range(4)]
    assert answers == [b"HTTP/1.1 200"] * 2 + [b""] * 2
    assert [through("127.0.0.8") for _ in range(2)] == [b"HTTP/1.1 200"] * 2, "the proxy is not"
    assert set(bans(cluster)) == {"127.0.0.9"}


def test_an_ipv6_client_is_its_network(cluster, site):
    for address in ("fd00::1", "fd00::2", "fd00:0:0:1::1"):
        ip("address", "add", f"{address}/128", "dev", "lo", "nodad")
    site(more=f"listen [::]:{TCP} tcp -> web {{ flood connections=3/h ban=1h; }}")

    def ask(source):
        return status(source, TCP, "::1")

    assert [ask("fd00::1"), ask("fd00::2"), ask("fd00::1"), ask("fd00::2"), ask("fd00::1")] == [200] * 3 + [None] * 2
    assert ask("fd00:0:0:1::1") == 200
    assert set(bans(cluster)) == {"fd00::/64"}
    assert cluster.command("bans", "--lift", "fd00::77").stdout == "lifted: 1\n"


def test_the_log_stays_small(cluster, site):
    site("flood connections=1/h ban=1h;")
    began = time.monotonic()
    for number in range(100):
        source = f"127.0.2.{number + 1}"
        assert (status(source), status(source)) == (200, None)
    seconds = time.monotonic() - began
    assert len(bans(cluster)) == 100
    events = banned_events(cluster)
    assert 1 <= len(events) <= 10 * (seconds + 2)
    assert len(events) + sum(event["untold"] for event in events) <= 100


def udp(source):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((source, 0))
    return made


def answered(source, port=UDP, timeout=0.3):
    with udp(source) as client:
        try:
            return ask_udp(port, client=client, timeout=timeout)
        except OSError:
            return None


@both_accounts
def test_datagrams(cluster, site):
    site("flood requests=1000/s;",
         f"listen {UDP} udp -> echo port=4001 {{ allow 127.0.0.0/30; deny all; flood connections=5/h ban=1h; }}")
    cluster.wait(lambda: answered("127.0.0.1"), 10, "an answer")
    assert answered("127.0.0.9") is None, "denied"
    with udp("127.0.0.2") as kept:
        assert [bool(ask_udp(UDP, client=kept)) for _ in range(20)] == [True] * 20, "one session"
        assert [answered("127.0.0.2") for _ in range(5)] == ["echo"] * 4 + [None]
        assert ask_udp(UDP, client=kept), "a session that is there goes on"
    assert bans(cluster)["127.0.0.2"]["why"] == "sessions"
    assert status("127.0.0.2") == 200, "by datagrams, which may be forged, nobody is banned from the rest"
    assert answered("127.0.0.3") == "echo"
    assert cluster.command("bans", "--lift", "127.0.0.2").stdout == "lifted: 1\n"


def test_the_command_refuses_what_is_wrong(cluster, site):
    site("flood connections=3/h;")
    assert bans(cluster) == {}
    assert cluster.command("bans").stdout == "nobody is banned\n"
    for wrong, said in ((["--lift", "everybody"], "no client's address"), (["--lift", "10.0.0.0/8"], "no client's address"),
                        (["more"], "usage")):
        done = cluster.command("bans", *wrong, check=False)
        assert done.returncode != 0 and said in done.stderr + done.stdout, done
    assert cluster.command("bans", "--lift", "10.9.9.9").stdout == "lifted: 0\n"
