"""`enginx events`: what happens, in its order, as lines and as JSON; to who reads and who does not."""

import base64
import http.server
import json
import os
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request

import pytest

from harness.processes import wait_for

CLUSTER = """
    service web {{ run {web}; env WHO=$instance; port 8000; instances 2; }}
    listen 8080 tcp -> web;"""


class Events:
    """`enginx events -f --json` in the background."""

    def __init__(self, cluster, *arguments):
        self.path = cluster.directory / f"events-{len(arguments)}-{os.getpid()}"
        with open(self.path, "w") as out:
            self.process = subprocess.Popen(
                cluster.arguments("events", "-f", "--json", *arguments), stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, cwd=cluster.directory, env=cluster.environment)

    @property
    def seen(self):
        return [json.loads(line) for line in self.path.read_text().splitlines() if line.endswith("}")]

    def wait(self, event, count=1, **fields):
        def there():
            return len([one for one in self.seen if one["event"] == event
                        and fields.items() <= one["fields"].items()]) >= count
        wait_for(there, 15, f"{event} {fields}")

    def of(self, instance):
        """What happened to it: names of events, or the state that it came to."""
        return [one["fields"].get("to", one["event"]) for one in self.seen
                if one["fields"].get("instance") == instance]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def test_sequence(cluster, programs):
    cluster.up(CLUSTER.format(web=programs.python("web")))
    cluster.wait_up(2)
    with Events(cluster, "-n", "1000") as events:
        events.wait("ready")
        before = len(events.of("web.1"))
        pid = cluster.pid(1)
        os.kill(pid, signal.SIGKILL)
        events.wait("instance-up", 3)
        assert events.of("web.1")[before:] == ["instance-ended", "starting", "instance-starting", "instance-up"]
        ended = [one for one in events.seen if one["event"] == "instance-ended"][-1]
        assert ended["fields"]["pid"] == pid and ended["level"] == "info"
        before = len(events.of("web.2"))
        cluster.command("drain", "web.2")
        cluster.command("drain", "web.2", "--undo")
        events.wait("instance-state", instance="web.2", to="up")
        assert events.of("web.2")[before:] == ["draining", "up"]
        cluster.command("reload")
        events.wait("reloaded")
        numbers = [one["number"] for one in events.seen]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        text = cluster.command("events", "-n", "3").stdout.splitlines()
        assert len(text) == 3 and any(" info reloaded generation=2 " in line for line in text)
        assert " change instance-state instance=web.2 from=draining to=up " in cluster.command("events").stdout
        cluster.down()
        assert events.process.wait(10) == 0
        assert events.of("web.1")[-3:] == ["stopping", "instance-ended", "idle"]
    assert "instance-state" not in cluster.output  # these are no lines of the log
    assert cluster.command("events", check=False).returncode == 1


def test_upgrade(cluster, programs):
    cluster.up(CLUSTER.format(web=programs.python("web")))
    cluster.wait_up(2)
    with Events(cluster) as events:
        cluster.command("events", "-n", "1")
        cluster.command("upgrade", timeout=30)
        events.wait("adopted")
        cluster.command("drain", "web.1")
        events.wait("instance-state", instance="web.1", to="draining")
        assert events.process.poll() is None


class Control:
    """A client of the control socket."""

    def __init__(self, cluster, **request):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(15)
        self.socket.connect(str(cluster.state / "control"))
        self.lines = self.socket.makefile("r")
        self.socket.sendall(json.dumps(request).encode() + b"\n")

    def next(self):
        return json.loads(self.lines.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()


def test_slow_reader(cluster, programs):
    """Who does not read is told how much it has lost; nobody waits for it."""
    cluster.up(CLUSTER.format(web=programs.python("web")))
    cluster.wait_up(2)

    def ask(**request):
        with Control(cluster, **request) as client:
            return client.next()

    with Control(cluster, command="events", last=1000, follow=True) as slow:
        latest = 0
        while latest < 6000:
            for undo in [False, True] * 250:
                assert ask(command="drain", service="web", instance=1, undo=undo) == {"ok": True}
            latest = ask(command="events", last=1)["number"]
        expected, lost = 1, 0
        while expected <= latest:
            event = slow.next()
            lost += event.get("lost", 0)
            assert "lost" in event or event["number"] == expected
            expected += event.get("lost", 1)
        assert lost > 1000
        ask(command="drain", service="web", instance=2)
        assert slow.next()["fields"]["to"] == "draining"


KEY = {"kty": "EC", "crv": "P-256", "kid": "1", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
       "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}  # RFC 7517 A.1


@pytest.fixture
def elsewhere(network):
    """A server that shows keys at /keys, and whose health a test sets."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response({"/healthz": server.health, "/keys": 200}.get(self.path, 404))
            self.end_headers()
            self.wfile.write(json.dumps({"keys": [KEY]}).encode())

        def log_message(self, *ignored):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.2", 0), Handler)
    server.health = 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.both_accounts
def test_what_the_gateway_finds_out(cluster, elsewhere):
    """Of servers that are not ours: with the address, and why; no line of it twice."""
    at = f"127.0.0.2:{elsewhere.server_port}"
    cluster.up(f"""
        gateway threads=1;
        service back {{ at {at}; check http /healthz every=50ms timeout=1s rise=1 fall=1; }}
        service keys {{ at {at}; }}
        listen 8080 http {{
            route / -> back {{ auth jwt -> keys path=/keys; }}
            route /lost -> back {{ auth jwt -> keys path=/lost; }}
        }}""")
    token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=")
                     for part in (b'{"alg":"ES256","kid":"1"}', b'{"exp":4000000000}', bytes(64)))
    cluster.wait(cluster.status, 10, "an answer")
    with Events(cluster, "-n", "1000") as events:
        events.wait("remote-well", service="back", endpoint=at)
        elsewhere.health = 503
        events.wait("remote-ill", service="back", endpoint=at)
        elsewhere.health = 200
        events.wait("remote-well", 2, service="back", endpoint=at)
        for path, status in (("/", 401), ("/lost", 503)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:8080{path}",
                                                              headers={"Authorization": f"Bearer {token}"}))
            assert refused.value.code == status
        events.wait("jwks-fetched", keys=1)
        events.wait("jwks-not-fetched", instead="503")
        ill = next(one for one in events.seen if one["event"] == "remote-ill")
        assert ill["level"] == "warn" and "503" in ill["fields"]["why"]
    lines = (cluster.state / "log" / "enginx.log").read_text().splitlines()
    assert len([line for line in lines if "remote-ill" in line]) == 1
