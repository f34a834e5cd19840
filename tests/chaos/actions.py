"""What is done to a running cluster, by the dice of one seed; each action says which failures it explains."""

import contextlib
import dataclasses
import errno
import os
import resource
import signal
import socket
import time

from harness import processes

CROWD = 400
HTTP_PORT = 8080
BROKEN = "\nservice { nonsense"
GATEWAY_PATHS = ("web/relay", "web/http", "one/relay", "one/http", "echo/relay")


@dataclasses.dataclass
class Excuse:
    """Failures on these paths, of what was under way between these times, are explained by `action`."""
    action: str
    paths: tuple
    begin: float
    end: float


class Actions:
    def __init__(self, cluster, text, dice, logs):
        self.cluster, self.text, self.dice, self.logs = cluster, text, dice, logs
        self.excuses, self.log, self.revision = [], [], 0
        self.all = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")]

    # ---- running one ----

    def run(self, action):
        began = time.monotonic()
        said = action() or ""
        self.log.append((began, time.monotonic(), action.__name__[3:], said))

    @contextlib.contextmanager
    def excuse(self, action, paths):
        made = Excuse(action, tuple(paths), time.monotonic(), float("inf"))
        self.excuses.append(made)
        try:
            yield
        finally:
            made.end = time.monotonic()

    def settle(self, within=40):
        """Until all that is wanted is up, and all of enginx's processes are there."""
        def settled():
            status = self.cluster.status()
            assert status is not None, "nobody answers"
            for service in status["services"]:
                states = [one["state"] for one in service["instances"]]
                assert states == ["up"] * service["wanted"], f"{service['name']}: {states}"
            for role in ("keeper", "logger", "gateway"):
                assert self.role(role), f"no {role}"
            return True
        self.cluster.wait(settled, within, "all to be up")

    # ---- finding what to do it to ----

    def instance(self):
        name = self.dice.choice(("web", "web", "one", "echo"))
        number, found = self.dice.choice(sorted(self.cluster.instances(name).items()))
        return name, number, found["pid"]

    def role(self, name):
        """The pids of enginx's processes with this role."""
        if name == "gateway":
            status = self.cluster.status()
            pid = status and status["gateway_pid"]
            return [pid] if pid and processes.alive(pid) else []
        return [pid for pid in self.cluster.enginx_processes()
                if f"--role {name}" in processes.command_line(pid)]

    def kill_role(self, name):
        def another():
            return [pid for pid in self.role(name) if pid not in killed]
        killed, times = [], self.dice.choice((1, 2))
        for _ in range(times):
            pid = self.cluster.wait(another, 10, f"a {name}")[0]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        self.cluster.wait(another, 10, f"another {name}")
        return f"{times}×"

    # ---- the actions ----

    def do_kill_instance(self):
        name, number, pid = self.instance()
        if pid:
            with self.excuse("kill_instance", [f"{name}/{path}" for path in ("direct", "relay", "http")]):
                os.kill(pid, signal.SIGKILL)
        return f"{name}.{number}"

    def do_stop_instance(self):
        name, number, pid = self.instance()
        if pid:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.dice.uniform(0.1, 1.5))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return f"{name}.{number}"

    def do_kill_supervisor(self):
        times = self.dice.choice((1, 2))
        for _ in range(times):
            pid = self.cluster.supervisor()
            os.kill(pid, signal.SIGKILL)
            if self.cluster.process is not None:
                self.cluster.process.wait(5)
                self.cluster.process = None
            processes.wait_for(lambda: not processes.alive(pid), 5, "the supervisor to die")
            time.sleep(self.dice.uniform(0, 0.5))
            self.up()
        return f"{times}×"

    def do_kill_keeper(self):
        return self.kill_role("keeper")

    def do_kill_logger(self):
        return self.kill_role("logger")

    def do_kill_gateway(self):
        with self.excuse("kill_gateway", GATEWAY_PATHS):
            return self.kill_role("gateway")

    def do_reload(self):
        """With another environment for a program, which rolls it."""
        self.revision += 1
        self.cluster.configure(self.text(self.revision))
        self.cluster.command("reload", "--wait", timeout=120)

    def do_reload_broken(self):
        self.cluster.configure(self.text(self.revision) + BROKEN)
        done = self.cluster.command("reload", check=False)
        self.cluster.configure(self.text(self.revision))
        assert done.returncode != 0, "a broken file was taken"

    def do_restart(self):
        name, number, _ = self.instance()
        self.cluster.command("restart", f"{name}.{number}", timeout=60)
        return f"{name}.{number}"

    def do_scale(self):
        wanted = self.dice.randint(2, 5)
        self.cluster.command("scale", f"web={wanted}", timeout=60)
        return f"web={wanted}"

    def do_drain(self):
        number = self.dice.choice(sorted(self.cluster.instances("web")))
        self.cluster.command("drain", f"web.{number}")
        time.sleep(self.dice.uniform(0.1, 1))
        self.cluster.command("drain", f"web.{number}", "--undo")
        return f"web.{number}"

    def do_roll(self):
        name = self.dice.choice(("web", "one"))
        self.cluster.command("roll", name, timeout=120)
        return name

    def do_upgrade(self):
        self.cluster.wait(lambda: len(self.cluster.status()["gateways_draining"]) < 2, 60,
                          "an old gateway to end")
        self.cluster.command("upgrade", timeout=60)

    def do_fill_disk(self):
        """The folder of the logs has no room for a while."""
        filler = self.logs / "filler"
        try:
            with open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
        time.sleep(self.dice.uniform(0.2, 1.5))
        filler.unlink()

    def do_exhaust_supervisor(self):
        """The supervisor gets no more descriptors than it has, for a while."""
        pid = self.cluster.supervisor()
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
        self.limit(pid, max(processes.descriptors(pid)) + 1)
        time.sleep(self.dice.uniform(0.2, 1))
        self.limit(pid, before)

    def do_crowd(self):
        """Many clients of the gateway that say nothing; everybody else is served."""
        with contextlib.ExitStack() as held:
            for _ in range(CROWD):
                client = held.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", HTTP_PORT))
            time.sleep(self.dice.uniform(0.2, 1))

    # ---- what they need ----

    def up(self):
        self.cluster.up()
        self.cluster.wait(self.cluster.status, 20, "the new supervisor")

    @staticmethod
    def limit(pid, descriptors):
        """The hard limit stays, since the programs are given what enginx itself was given."""
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors, hard))
