"""What is done to a running cluster, by the dice of one seed; each action says which failures it explains."""

import contextlib
import errno
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import threading
import time

from harness import clients, processes

CROWD = 1100  # more than a gateway of DESCRIPTORS takes
DESCRIPTORS = 1024
CLIENTS_DESCRIPTORS = DESCRIPTORS - DESCRIPTORS // 8  # the rest leads to programs (gateway/listen.h)
HTTP_PORT = 8080
BROKEN = "\nservice { nonsense"
GATEWAY_PATHS = ("web/relay", "web/http", "one/relay", "one/http", "echo/relay", "files/http", "web/cached")
ROLES = ("supervisor", "keeper", "logger", "gateway", "opener")
LEAPS = (-10 * 365 * 86400, -86400, -3600, -1, 0, 1, 3600, 86400, 10 * 365 * 86400)  # seconds


class Actions:
    """`disks`: name → a folder that is a small file system; `leap`: the file of leap.c."""

    def __init__(self, cluster, account, text, dice, disks, leap):
        self.cluster, self.account, self.text, self.dice = cluster, account, text, dice
        self.disks, self.leap = disks, leap
        self.revision, self.leaps = 0, 0
        self.all = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")]

    def settle(self, within=60):
        """Until all that is wanted is up, and all of enginx's processes are there."""
        def settled():
            status = self.cluster.status()
            assert status is not None, "nobody answers"
            for service in status["services"]:
                states = [one["state"] for one in service["instances"]]
                assert states == ["up"] * service["wanted"], f"{service['name']}: {states}"
                roll = service["rollout"]
                assert not roll or not roll["step"], f"{service['name']} is being rolled"
            for role in ROLES:
                assert self.role(role), f"no {role}"
            return True
        self.cluster.wait(settled, within, "all to be up")

    # ---- finding what to do it to ----

    def instance(self):
        name = self.dice.choice(("web", "web", "one", "echo", "ping"))
        number, found = self.dice.choice(sorted(self.cluster.instances(name).items()))
        return name, number, found["pid"]

    def role(self, name):
        """The pids of enginx's processes with this role, the newest first. The opener is the gateway's child."""
        own = sorted(self.cluster.enginx_processes(), reverse=True, key=started)
        if name == "supervisor":
            return [pid for pid in own if "--role" not in processes.command_line(pid)]
        wanted = "gateway" if name == "opener" else name
        found = [pid for pid in own if f"--role {wanted}" in processes.command_line(pid)]
        if wanted == "gateway":
            return [pid for pid in found if (processes.parent(pid) in found) == (name == "opener")]
        return found

    def kill(self, name):
        """The newest of this role, without waiting for another one; was there any?"""
        for pid in self.role(name)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            processes.wait_for(lambda: not processes.alive(pid), 5, f"the {name} to die")
            return True
        return False

    def kill_role(self, name):
        """Once, or twice in a row: the next as soon as it is there."""
        times = self.dice.choice((1, 2))
        for _ in range(times):
            self.cluster.wait(lambda: self.kill(name), 10, f"a {name}")
        self.back(name)
        return f"{times}×"

    def back(self, *roles):
        """Until they are there again; nobody but the administrator starts another supervisor."""
        for role in roles:
            if role == "supervisor":
                self.revive()
            self.cluster.wait(lambda: self.role(role), 20, f"another {role}")

    def kill_excuse(self, action, roles):
        """Who loses the gateway loses what it has, and nobody is refused. Without keeper and supervisor it
        is lost, too, with its sockets."""
        both = {"supervisor", "keeper"} <= set(roles)
        lost = both or {"gateway", "opener"} & set(roles)
        return self.account.excuse(action, GATEWAY_PATHS if lost else (), refused=both)

    # ---- the actions: what is killed ----

    def do_kill_instance(self):
        name, number, pid = self.instance()
        if pid:
            paths = [f"{name}/{path}" for path in ("direct", "relay", "http", "cached")]
            with self.account.excuse("kill_instance", paths, pid=pid), contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return f"{name}.{number}"

    def do_kill_supervisor(self):
        times = self.dice.choice((1, 2))
        for _ in range(times):
            self.kill("supervisor")
            time.sleep(self.dice.uniform(0, 0.5))
            self.revive()
        return f"{times}×"

    def do_kill_keeper(self):
        return self.kill_role("keeper")

    def do_kill_logger(self):
        return self.kill_role("logger")

    def do_kill_gateway(self):
        with self.kill_excuse("kill_gateway", ["gateway"]):
            return self.kill_role("gateway")

    def do_kill_opener(self):
        with self.kill_excuse("kill_opener", ["opener"]):
            return self.kill_role("opener")

    def do_kill_in_any_order(self):
        """Some of them, the same one perhaps twice, each as soon as the one before is dead."""
        roles = [self.dice.choice(ROLES) for _ in range(self.dice.randint(2, 4))]
        with self.kill_excuse("kill_in_any_order", roles) as excuse:
            for role in roles:
                self.kill(role)
                time.sleep(self.dice.choice((0, 0, self.dice.uniform(0, 0.2))))
            self.revive()
            self.back("gateway", "opener")
            if excuse.refused:
                self.settle()
        return " ".join(roles)

    def do_kill_in_the_midst(self):
        """Something is killed while something else is under way."""
        command = self.dice.choice((("roll", "web"), ("roll", "one"), ("restart", "web"), ("restart", "one"),
                                    ("scale", f"web={self.dice.randint(2, 5)}"), ("upgrade",)))
        victim = self.dice.choice(ROLES + ("instance",))
        if command == ("upgrade",):
            self.old_gateways_end()
        running = threading.Thread(target=self.cluster.command, args=command,
                                   kwargs={"check": False, "timeout": 120})
        running.start()
        time.sleep(self.dice.uniform(0, 1))
        if victim == "instance":
            self.do_kill_instance()
        else:
            with self.kill_excuse("kill_in_the_midst", [victim]):
                self.kill(victim)
                self.back(victim)
        running.join()
        self.revive()
        self.settle()
        return f"{' '.join(command)}: {victim}"

    # ---- what stands still for a while ----

    def do_stop_instance(self):
        name, number, pid = self.instance()
        if pid:
            self.stand_still(pid)
        return f"{name}.{number}"

    def do_stop_role(self):
        role = self.dice.choice(ROLES)
        self.stand_still(self.role(role)[0])
        return role

    def stand_still(self, pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.dice.uniform(0.1, 1.5))
            os.kill(pid, signal.SIGCONT)

    # ---- what an administrator does ----

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
        self.old_gateways_end()
        self.cluster.command("upgrade", timeout=60)

    # ---- what there is not enough of ----

    def do_fill_disk(self):
        """A folder has no room for a while: the logs', the state's, the cache's. Something may die meanwhile."""
        name = self.dice.choice(sorted(self.disks))
        filler = self.disks[name] / "filler"
        with open(filler, "wb", buffering=0) as file, contextlib.ExitStack() as undone:
            undone.callback(filler.unlink)
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
            meanwhile = self.dice.choice((None, self.do_kill_instance, self.do_kill_gateway, self.do_kill_logger,
                                          self.do_kill_supervisor, self.do_roll))
            said = f"{meanwhile.__name__[3:]} {meanwhile() or ''}" if meanwhile else ""
            time.sleep(self.dice.uniform(0.2, 1.5))
        return f"{name} {said}"

    def do_exhaust(self):
        """A process gets no more descriptors than it has, for a while."""
        role = self.dice.choice(("supervisor", "keeper", "logger"))
        pid = self.role(role)[0]
        soft, hard = (int(word) for word in re.search(rb"Max open files +(\d+) +(\d+)",
                                                      processes.read(pid, "limits")).groups())
        limit = max(processes.descriptors(pid)) + 1
        for now, pause in ((limit, self.dice.uniform(0.2, 1)), (soft, 0)):
            subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={now}:{hard}"], **self.cluster.account.options())
            assert processes.read(pid, "limits").count(b"Max open files            %d" % now), f"not {now} of {role}"
            time.sleep(pause)
        return role

    def do_crowd(self):
        """More clients of the gateway than it has descriptors for, who never end what they say: the others
        wait until they go."""
        with contextlib.ExitStack() as held:
            for _ in range(CROWD):
                client = held.enter_context(socket.socket())
                client.settimeout(5)
                client.connect(("127.0.0.1", HTTP_PORT))
                client.sendall(b"GET / HTTP/1.1\r\nHost: sl")
            self.cluster.wait(self.gateway_is_full, 10, "the gateway to have no more descriptors")
            time.sleep(self.dice.uniform(0.2, 1))

    def gateway_is_full(self):
        """Clients get no more descriptors than it gave them."""
        return max(processes.descriptors(self.role("gateway")[0])) >= CLIENTS_DESCRIPTORS

    def do_eat_memory(self):
        """An instance wants more than its quota, until the kernel kills it; status says so."""
        if not self.cluster.account.root:
            return "no control groups"
        number, found = self.dice.choice(sorted(self.cluster.instances("web").items()))
        with self.account.excuse("eat_memory", ("web/direct", "web/relay", "web/http", "web/cached"),
                                 pid=found["pid"]):
            with contextlib.suppress(OSError):
                clients.ask(3000, host=found["address"], path="/eat", timeout=20)
            cluster_says = self.cluster.wait_restarted(number, found["pid"], "web", within=20)["exit"]
        assert re.search("out of memory", cluster_says or ""), cluster_says
        return f"web.{number}"

    def do_leap(self):
        """The wall clock of enginx's processes leaps; their log shows that it did."""
        seconds = self.dice.choice(LEAPS)
        self.leap_to(seconds)
        self.cluster.command("reload")
        hour = time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() + seconds))
        self.cluster.wait(lambda: re.search(f"^{hour}.* reloaded",
                                            self.cluster.command("logs", "-n", "20", "enginx").stdout, re.MULTILINE),
                          5, f"a line of {hour} in the log")
        self.leaps += 1
        return f"{seconds:+} s"

    def leap_to(self, seconds):
        with open(self.leap, "r+b") as file:
            file.write(struct.pack("=q", seconds))

    # ---- what they need ----

    def old_gateways_end(self):
        self.cluster.wait(lambda: len(self.cluster.status()["gateways_draining"]) < 2, 60,
                          "an old gateway to end")

    def up(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)

        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        assert hard[1] >= DESCRIPTORS
        self.cluster.start("up", self.cluster.directory / "enginx.conf", preexec_fn=limit)
        self.cluster.wait(self.cluster.status, 20, "the new supervisor")

    def revive(self):
        """Starts a supervisor where there is none. After one that was killed in an upgrade, its guard does."""
        process = self.cluster.process
        if process is not None and not processes.alive(process.pid):
            process.wait(5)
            self.cluster.process = None
        deadline = time.monotonic() + 5
        while self.role("supervisor") and time.monotonic() < deadline:
            if self.cluster.status() is not None:
                return
            time.sleep(0.05)
        self.up()

    @staticmethod
    def build_leap(folder):
        """The library to preload, and its file: (path, path)."""
        library, file = folder / "leap.so", folder / "leap"
        source = os.path.join(os.path.dirname(__file__), "leap.c")
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
        file.write_bytes(struct.pack("=q", 0))
        file.chmod(0o644)
        return library, file


def started(pid):
    """When it began, in ticks since the machine did."""
    fields = processes.read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[19]) if fields else 0
