"""A cluster, the clients on each path to it, and a time of random actions; then the account of it all."""

import collections
import contextlib
import random
import time

from harness import processes

from actions import Actions
from flows import Flow, WrongBytes

SETTLE = 1.0  # for so long after an action what begins may still meet what it broke
WINDOW = 5.0  # a failure that an action explains has come by then; a datagram's takes UDP_TRIES
DESCRIPTORS_MORE = 64  # connections to services that the gateway keeps for the next request
RESIDENT_MORE_KB = 64 * 1024
PORTS = {"web/direct": 3000, "web/relay": 9000, "web/http": 8080,
         "one/direct": 3100, "one/relay": 9100, "one/http": 8180}
UDP_PORT = 4500


def configuration(programs, logs, revision):
    stop = "stop SIGTERM drain=300ms within=20s; restart always backoff=10ms..50ms;"
    node = f"run node {programs.path('rolled.js')}; {stop}"
    env = f"NODE_PATH=/usr/share/nodejs SECONDS=0.5 REVISION={revision}"
    return f"""
        log directory={logs} size=256k keep=1;
        service web {{ {node} env WHO=$instance PORT=3000 {env}; port 3000; instances 3; roll surge=1; }}
        service one {{ {node} env WHO=$instance PORT=3100 {env}; port 3100; }}
        service echo {{ run {programs.built("echo_udp")}; env WHO=$instance; instances 3;
                        restart always backoff=10ms..50ms; }}
        listen {UDP_PORT} udp -> echo port=4001 path=relay idle=2s;
        listen 9000 tcp -> web path=relay;   listen 9100 tcp -> one path=relay;
        listen 8080 http {{ route / -> web; }}   listen 8180 http {{ route / -> one; }}"""


def resident_kb(pid):
    for line in processes.read(pid, "status").splitlines():
        if line.startswith(b"VmRSS:"):
            return int(line.split()[1])
    return 0


class Torture:
    def __init__(self, cluster, programs, logs, seed):
        self.cluster, self.seed = cluster, seed
        self.dice = random.Random(seed)
        self.actions = Actions(cluster, lambda revision: configuration(programs, logs, revision),
                               self.dice, logs)
        self.flows = [Flow(path, port) for path, port in PORTS.items()]
        self.flows.append(Flow("echo/relay", UDP_PORT, ("udp", "udp")))

    def run(self, seconds):
        self.cluster.configure(self.actions.text(0))
        self.actions.up()
        self.actions.settle()
        before = self.belongings()
        with contextlib.ExitStack() as clients:
            for flow in self.flows:
                clients.enter_context(flow)
            self.served()
            self.go(seconds)
            self.actions.settle()
            self.served()
        return self.problems(before)

    def served(self, within=30):
        """Until each kind of client on each path got an answer to something that it asks from now on."""
        before = [flow.done.copy() for flow in self.flows]
        processes.wait_for(lambda: all(flow.done[kind] > done[kind] + 1 for flow, done in zip(self.flows, before)
                                       for kind in flow.kinds), within, "every client to be served")

    def go(self, seconds):
        """Each action once in a random order, and again, until the time is over."""
        until, order = time.monotonic() + seconds, []
        while time.monotonic() < until:
            if not order:
                order = self.dice.sample(self.actions.all, len(self.actions.all))
            self.actions.run(order.pop())
            time.sleep(self.dice.uniform(0, 0.5))
            if self.dice.random() < 0.5:
                self.actions.settle()

    # ---- the account ----

    def explain(self):
        for failure in self.failures():
            if isinstance(failure.error, (WrongBytes, ConnectionRefusedError)):
                continue
            for excuse in self.actions.excuses:
                if (failure.path in excuse.paths and failure.began <= excuse.end + SETTLE
                        and excuse.begin <= failure.ended <= excuse.end + WINDOW):
                    failure.action = excuse.action

    def failures(self):
        return [failure for flow in self.flows for failure in flow.failed]

    def unexplained(self):
        return [failure for failure in self.failures() if failure.action is None]

    def belongings(self):
        """What each of enginx's processes has, by its role: descriptors, resident memory."""
        found = {"supervisor": self.cluster.supervisor()}
        for role in ("keeper", "logger", "gateway"):
            found[role] = self.actions.role(role)[0]
        return {role: (len(processes.descriptors(pid)), resident_kb(pid)) for role, pid in found.items()}

    def problems(self, before):
        """What is not as it must be, in words; nothing when all is well."""
        self.explain()
        found = [f"{failure} near {self.near(failure.ended)}" for failure in self.unexplained()]
        found += [f"a client of {flow.path} has not ended" for flow in self.flows if not flow.ended()]
        self.cluster.command("scale", "web=3", timeout=60)
        self.actions.settle()
        try:
            self.cluster.wait(lambda: not self.cluster.status()["gateways_draining"], 30,
                              "the old gateways to end")
        except AssertionError as error:
            found.append(str(error)[:300])
        for name, wanted in (("web", 3), ("one", 1), ("echo", 3)):
            pids = [one["pid"] for one in self.cluster.instances(name).values()]
            if len(pids) != wanted or not all(map(processes.alive, pids)):
                found.append(f"status says {pids} of {name}")
        self.after = self.belongings()
        for role, (descriptors, resident) in self.after.items():
            if descriptors > before[role][0] + DESCRIPTORS_MORE or resident > before[role][1] + RESIDENT_MORE_KB:
                found.append(f"{role} has grown from {before[role]} to {(descriptors, resident)}")
        return found

    def near(self, when):
        """The last actions that began before it."""
        return [f"{name} {said} {when - began:.2f} s before"
                for began, _, name, said in self.actions.log if began <= when][-2:]

    def report(self):
        self.explain()
        lines = [f"seed {self.seed}: {len(self.actions.log)} actions: "
                 + " ".join(f"{name}={count}" for name, count in sorted(collections.Counter(
                     name for _, _, name, _ in self.actions.log).items()))]
        for flow in self.flows:
            answered, failed = sum(flow.done.values()), len(flow.failed)
            why = collections.Counter(failure.action or "UNEXPLAINED" for failure in flow.failed)
            lines.append(f"  {flow.path}: sent {answered + failed} answered {answered} ({flow.told()}) "
                         f"failed {failed} {dict(why) or ''}, slowest {flow.slowest:.1f} s")
        lines += [f"  a datagram was lost near {self.near(when)}" for flow in self.flows for when in flow.lost]
        lines.append(f"  in all: sent {sum(sum(flow.done.values()) + len(flow.failed) for flow in self.flows)}, "
                     f"failed {len(self.failures())}, unexplained {len(self.unexplained())}")
        return "\n".join(lines)
