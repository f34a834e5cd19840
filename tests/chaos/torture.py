"""A cluster, the clients on each path to it, and a time of random actions; then the account of it all."""

import contextlib
import random
import subprocess
import time

from harness import processes
from harness.traffic import DOWNLOAD_BYTES

from account import Account
from actions import ROLES, Actions
from belongings import Belongings, bpf_left, resident_kb
from flows import HTTP1, Flow

PORTS = {"web/direct": 3000, "web/relay": 9000, "web/http": 8080,
         "one/direct": 3100, "one/relay": 9100, "one/http": 8180}
UDP_PORTS = {"ping/direct": 4002, "echo/relay": 4500}
OTHERS_PORT = 8280
DISKS = {"logs": 2, "state": 16, "cache": 20}  # MiB
WANTED = (("web", 3), ("one", 1), ("echo", 3), ("ping", 2))


def configuration(programs, folder, root, revision):
    stop = "stop SIGTERM drain=300ms within=20s; restart always backoff=10ms..50ms;"
    node = f"run node {programs.path('rolled.js')}; {stop}"
    env = f"NODE_PATH=/usr/share/nodejs SECONDS=0.5 REVISION={revision}"
    quota = "quota memory=256m;" if root else ""
    return f"""
        log directory={folder}/logs size=256k keep=1;
        cache pages memory=1m object=64k disk={folder}/cache size=16m;
        service web {{ {node} env WHO=$instance PORT=3000 {env}; port 3000; instances 3; roll surge=1; {quota} }}
        service one {{ {node} env WHO=$instance PORT=3100 {env}; port 3100; }}
        service echo {{ run {programs.built("echo_udp")}; env WHO=$instance; instances 3;
                        restart always backoff=10ms..50ms; }}
        service ping {{ run {programs.built("echo_udp")}; env WHO=$instance PORT={UDP_PORTS["ping/direct"]};
                        instances 2; restart always backoff=10ms..50ms; }}
        listen {UDP_PORTS["echo/relay"]} udp -> echo port=4001 path=relay idle=2s;
        listen 9000 tcp -> web path=relay;   listen 9100 tcp -> one path=relay;
        listen 8080 http {{ route / -> web; }}   listen 8180 http {{ route / -> one; }}
        listen {OTHERS_PORT} http {{ route =/file -> files {folder}/files {{ rewrite ~.* /download; }}
                                     route / -> web {{ cache pages ttl=100ms; }} }}"""


class Torture:
    def __init__(self, cluster, programs, seed):
        self.cluster, self.folder = cluster, cluster.folder("chaos")
        dice = random.Random(seed)
        cluster.file("chaos/files/download", b"x" * DOWNLOAD_BYTES)
        flows = [Flow(path, port, HTTP1 + ("h2",) * path.endswith("/http")) for path, port in PORTS.items()]
        flows += [Flow(path, port, ("udp", "udp")) for path, port in UDP_PORTS.items()]
        flows += [Flow("files/http", OTHERS_PORT, ("file",)), Flow("web/cached", OTHERS_PORT, ("single",))]
        self.account = Account(f"seed {seed} as {cluster.account.name}", flows)
        library, leap = Actions.build_leap(self.folder)
        cluster.environment.update(LD_PRELOAD=str(library), CHAOS_LEAP=str(leap))
        disks = {name: cluster.state if name == "state" else cluster.folder(f"chaos/{name}") for name in DISKS}
        self.actions = Actions(
            cluster, self.account,
            lambda revision: configuration(programs, self.folder, cluster.account.root, revision), dice, disks, leap)
        self.peaks = dict.fromkeys(ROLES, 0)
        self.before = self.after = None

    @contextlib.contextmanager
    def small_disks(self):
        """What may run full is a file system of its own for each."""
        owner = self.cluster.account
        with contextlib.ExitStack() as mounted:
            for name, path in self.actions.disks.items():
                path.mkdir(exist_ok=True)
                options = f"size={DISKS[name]}m,mode=0755,uid={owner.uid},gid={owner.gid}"
                subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
                mounted.callback(subprocess.run, ["umount", "-l", path], check=True)
            yield

    def run(self, seconds):
        """Everything that is not as it must be, in words; nothing when all is well."""
        with self.small_disks():
            self.cluster.configure(self.actions.text(0))
            self.actions.up()
            self.actions.settle()
            self.before = Belongings(self.cluster, self.actions.role)
            with self.account:
                self.account.served()
                self.go(seconds)
                self.account.served()
            return self.account.problems() + self.calm() + self.end()

    def go(self, seconds):
        """Each action once in a random order, and again, until the time is over."""
        until, order, dice = time.monotonic() + seconds, [], self.actions.dice
        while time.monotonic() < until:
            if not order:
                order = dice.sample(self.actions.all, len(self.actions.all))
            self.account.run(order.pop())
            time.sleep(dice.uniform(0, 0.5))
            if dice.random() < 0.5:
                self.actions.settle()
                self.look()
        self.actions.settle()

    def look(self):
        for role in ROLES:
            for pid in self.actions.role(role)[:1]:
                self.peaks[role] = max(self.peaks[role], resident_kb(pid))

    def calm(self):
        """After the torture: is all as it was before?"""
        found = []
        self.actions.leap_to(0)
        self.cluster.command("scale", "web=3", timeout=60)
        self.actions.settle()
        try:
            self.cluster.wait(lambda: not self.cluster.status()["gateways_draining"], 60, "the old gateways to end")
        except AssertionError as error:
            found.append(str(error)[:300])
        for name, wanted in WANTED:
            pids = [one["pid"] for one in self.cluster.instances(name).values()]
            if len(pids) != wanted or not all(map(processes.alive, pids)):
                found.append(f"status says {pids} of {name}")

        def nothing_more():
            self.after = Belongings(self.cluster, self.actions.role)
            leaks = self.after.leaks(self.before)
            assert not leaks, leaks
            return True
        try:
            processes.wait_for(nothing_more, 20, "nothing to be more than before")
        except AssertionError as error:
            found.append(str(error))
        return found

    def end(self):
        """Nothing is left of it: looked for before the file systems are unmounted."""
        self.cluster.down(within=60)
        try:
            processes.wait_for(lambda: not self.cluster.left_over() and not bpf_left(self.after.bpf), 10,
                               "nothing to be left")
        except AssertionError as error:
            return [f"{error}: {self.cluster.left_over()} {bpf_left(self.after.bpf)}"]
        return []

    def report(self):
        lines = [self.account.report()]
        for when, what in (("before", self.before), ("after", self.after)):
            lines += [f"  {when}: {what.told()}"] if what else []
        peaks = " ".join(f"{role}={kb // 1024}M" for role, kb in self.peaks.items())
        lines.append(f"  most: {peaks}; the clock leapt {self.actions.leaps} times")
        return "\n".join(lines)
