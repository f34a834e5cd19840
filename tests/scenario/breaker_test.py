"""The circuit breaker of a service: it opens when its programs fail or hang, answers in their place
without asking them, and closes again when they have recovered — under load, on all workers together."""

import collections
import http.client
import json
import re
import socket
import threading
import time

import pytest

from harness import clients, processes
from reload_test import reload

PORT, METRICS, TCP = 18080, 18081, 18082
BREAKER = "breaker failures=5 errors=50% within=2s open=400ms probes=2;"


class Asking:
    """Clients in a closed loop, each request on a connection of its own; counts statuses, and notes how
    long 503s took."""

    def __init__(self, count=4):
        self.statuses, self.quick, self.retry_after = collections.Counter(), [], set()
        self.lock, self.ending = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(count)]

    def work(self):
        while not self.ending.wait(0.002):
            began = time.monotonic()
            status, after = ask()
            with self.lock:
                self.statuses[status] += 1
                if status == 503:
                    self.quick.append(time.monotonic() - began)
                    self.retry_after.add(after)

    def since(self):
        """The counts from now on."""
        with self.lock:
            self.statuses.clear()
        return self.statuses

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join(15)


def ask(path="/", port=PORT):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Retry-After")
    finally:
        connection.close()


@pytest.fixture
def moody(cluster, programs):
    class Moody:
        asked = cluster.file("asked", "", 0o666)
        mood = cluster.file("mood", "well", 0o644)

        def be(self, mood):
            cluster.file("mood", mood)

        def count(self):
            with open(self.asked) as asked:
                return len(asked.readlines())

        def service(self, more, name="api"):
            return (f"service {name} {{ run node {programs.path('moody.js')}; port 3000; "
                    f"env WHO={name} MOOD={self.mood} ASKED={self.asked}; {more} }}\n")

        def site(self, more, routes="route / -> api;"):
            return ("gateway threads=2; metrics 127.0.0.1:18081;\n" + self.service(more) +
                    f"listen 127.0.0.1:{PORT} http {{ access-log json; {routes} }}\n")

        def up(self, text, instances=1):
            cluster.up(text)
            cluster.wait_up(instances, "api")
            processes.wait_for(lambda: not clients.refused(PORT), 5, "the listener")
    return Moody()


def state(cluster):
    return cluster.service("api")["breaker"]["state"]


def events(cluster, prefix):
    lines = cluster.command("events", "--json").stdout.splitlines()
    return [event for event in map(json.loads, lines) if event["event"].startswith(prefix)]


@pytest.mark.parametrize("mood", ["failing", "hanging", "cutting"])
def test_it_opens_and_closes_under_load(cluster, moody, mood):
    moody.up(moody.site(BREAKER + "instances 2; timeout response=300ms; retry tries=3; eject failures=0;"), 2)
    assert state(cluster) == "closed"
    with Asking() as asking:
        processes.wait_for(lambda: asking.statuses[200] > 20, 10, "answers")
        moody.be(mood)
        cluster.wait(lambda: state(cluster) == "open")
        before = moody.count()
        statuses = asking.since()
        processes.wait_for(lambda: statuses[503] > 100, 10, "answers in its place")
        cluster.wait(lambda: len(events(cluster, "breaker-half-open")) > 1)
        moody.be("well")
        cluster.wait(lambda: state(cluster) == "closed")
        statuses = asking.since()
        processes.wait_for(lambda: statuses[200] > 50, 10, "answers")
        assert set(statuses) == {200}
    # While it was open nothing but probes came to the programs, four at a time at most.
    asked = [line.split()[0] for line in open(moody.asked)][before:]
    rounds = len(events(cluster, "breaker-half-open"))
    assert asked.count(mood) <= 2 * rounds + 4
    assert asking.retry_after == {"1"}
    assert sorted(asking.quick)[len(asking.quick) // 2] < 0.1
    opened = events(cluster, "breaker-open")[0]
    assert opened["fields"]["service"] == "api"
    assert re.fullmatch(r"\d+ of \d+ tries failed", opened["fields"]["why"])
    assert len(events(cluster, "breaker-closed")) == 1
    page = clients.ask(METRICS, path="/metrics")
    assert 'enginx_service_breaker_state{service="api"} 0' in page
    refused = int(re.search(r'enginx_service_breaker_refused_total\{service="api"\} (\d+)', page)[1])
    assert refused > 100
    assert cluster.service("api")["breaker"]["opened"] >= 1
    lines = map(json.loads, (cluster.state / "log" / "access.log").read_text().splitlines())
    assert "upstream: breaker open" in {line.get("failure") for line in lines}


def test_another_service_takes_its_place(cluster, programs, moody):
    text = moody.site(BREAKER, "route / -> api weight=1, spare weight=0;")
    spare = f"service spare {{ run {programs.python('web')}; env WHO=spare; }}\n"
    moody.up(spare + text)
    cluster.wait_up(1, "spare")
    assert clients.ask(PORT).split()[0] == "api"
    moody.be("failing")
    with Asking() as asking:
        cluster.wait(lambda: state(cluster) == "open")
        statuses = asking.since()
        processes.wait_for(lambda: statuses[200] > 50, 10, "answers of the other one")
        moody.be("well")
        cluster.wait(lambda: state(cluster) == "closed")
    assert asking.statuses[503] == 0
    assert clients.ask(PORT).split()[0] == "api"


def test_connections_of_tcp_end_at_once(cluster):
    cluster.up(f"service db {{ at 127.0.0.1:9; {BREAKER} retry tries=0; }}\n"
               f"listen 127.0.0.1:{TCP} tcp -> db;\n")
    cluster.wait(lambda: cluster.service("db")["paths"][0]["path"] == "relay")
    processes.wait_for(lambda: not clients.refused(TCP), 5, "the listener")

    def broken():
        try:
            with socket.create_connection(("127.0.0.1", TCP), timeout=5) as connection:
                assert connection.recv(1) == b""
        except ConnectionError:
            pass
        return cluster.service("db")["breaker"]["refused"] > 0
    cluster.wait(broken)
    assert cluster.service("db")["breaker"]["state"] != "closed"


def test_a_reload_takes_it_away(cluster, moody):
    moody.up(moody.site("breaker open=1h failures=3;"))
    moody.be("failing")
    cluster.wait(lambda: ask() and state(cluster) == "open")
    asked = moody.count()
    assert ask()[0] == 503 and int(ask()[1]) > 3000
    assert moody.count() == asked
    reload(cluster, moody.site("breaker open=1h failures=3;" + " instances 2;"))
    cluster.wait_up(2, "api")
    assert ask()[0] == 503 and state(cluster) == "open"
    reload(cluster, moody.site(""))
    cluster.wait(lambda: ask()[0] == 500)
    assert cluster.service("api")["breaker"] is None
