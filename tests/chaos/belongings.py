"""What a cluster has at a moment, of which nothing may be more after a torture."""

import json
import os
import subprocess

from harness import cgroups, processes
from harness.cluster import BPF_PINS

DESCRIPTORS_MORE = 64  # connections to services that the gateway keeps for the next request
RESIDENT_MORE_KB = 32 * 1024
SHARED_MAP = "enginx_claims"
ROLES = ("supervisor", "keeper", "logger", "gateway", "opener")


def resident_kb(pid):
    for line in processes.read(pid, "status").splitlines():
        if line.startswith(b"VmRSS:"):
            return int(line.split()[1])
    return 0


def shared(pid):
    """How many mappings of shared memory it has: memfds, and its records."""
    return sum(b"memfd:" in line or b"/state/" in line for line in processes.read(pid, "maps").splitlines())


def bpf_objects(pids):
    """Maps and programs of these processes: (kind, number in the kernel)."""
    found = set()
    for pid in pids:
        for number in processes.descriptors(pid):
            for line in processes.read(pid, f"fdinfo/{number}").splitlines():
                name, _, value = line.partition(b":")
                if name in (b"map_id", b"prog_id"):
                    found.add((name.decode()[:-3], int(value)))
    return found


def bpf_left(objects):
    """Those of them that the kernel still has, without the one map that all clusters share and that stays."""
    left = set()
    for kind in {kind for kind, _ in objects}:
        done = subprocess.run(["bpftool", "-j", kind, "show"], capture_output=True, text=True, check=True)
        left |= {(kind, one["id"]) for one in json.loads(done.stdout)
                 if one.get("name") != SHARED_MAP}
    return objects & left


def zombies(network):
    """Children that nobody waited for, of the processes in the namespace."""
    found = []
    for pid in os.listdir("/proc"):
        fields = processes.read(pid, "stat").rpartition(b")")[2].split() if pid.isdigit() else []
        if fields and fields[0] == b"Z" and int(fields[1]) in network:
            found.append(int(pid))
    return found


class Belongings:
    def __init__(self, cluster, role):
        """`role`: gives the processes of a role, the newest first."""
        self.cluster, self.role = cluster, role
        pids = {name: role(name)[0] for name in ROLES}
        self.processes = {name: (len(processes.descriptors(pid)), resident_kb(pid), shared(pid))
                          for name, pid in pids.items()}
        self.groups = len(cgroups.all_below(cluster.cgroup))
        pins = BPF_PINS / cluster.name
        self.pins = len(list(pins.iterdir())) if pins.exists() else 0
        self.files = sorted(str(path.relative_to(cluster.state)) for path in cluster.state.rglob("*"))
        self.bpf = bpf_objects(cluster.enginx_processes())
        self.bpf_count = {kind: sum(one[0] == kind for one in self.bpf) for kind in ("map", "prog")}

    def leaks(self, before):
        """In words, what there is more of than before."""
        found = []
        for name, now in self.processes.items():
            was = before.processes[name]
            if (now[0] > was[0] + DESCRIPTORS_MORE or now[1] > was[1] + RESIDENT_MORE_KB or now[2] > was[2]):
                found.append(f"{name} has grown from {was} to {now} (descriptors, kB resident, shared mappings)")
        for what in ("groups", "pins", "bpf_count"):
            if getattr(self, what) != getattr(before, what):
                found.append(f"{what}: {getattr(before, what)} before, {getattr(self, what)} after")
        more = set(self.files) - set(before.files)
        if more:
            found.append(f"files of the state that were not there before: {sorted(more)}")
        for role in ROLES:
            if len(self.role(role)) != 1:
                found.append(f"{role}: {self.role(role)}")
        dead = zombies(set(self.cluster.network.processes()))
        if dead:
            found.append(f"zombies: {dead}")
        return found

    def told(self):
        each = " ".join(f"{name}={fds}/{kb // 1024}M/{maps}" for name, (fds, kb, maps) in self.processes.items())
        return (f"{each} (descriptors/resident/shared mappings) groups={self.groups} pins={self.pins} "
                f"bpf={sum(self.bpf_count.values())} files={len(self.files)}")
