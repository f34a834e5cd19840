"""`enginx events`: what happens, in its order, as lines and as JSON; to who reads and who does not."""

import json
import os
import signal
import socket
import subprocess

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
