"""`make bench`: what enginx costs.

The same small program runs alone, under a privileged enginx (BPF) and under an unprivileged one
(seccomp), each in a network namespace of its own, all at the same time and idle but for the one
that is measured. The rounds alternate, so that a slow moment of the machine meets all alike; the
table shows medians, and medians of the ratios within a round. CPU is that of server and client
together, since on loopback much of a connection's work is done in the client's name. The noise of
the machine stands in the table too: the program alone, measured a second time in each round.

What a change did: AGAINST=PATH names an enginx of before, which is measured in the same rounds (as
root), and nothing else is. ROUNDS (7) and WORK ("keep-alive", "connection") say how much.
"""

import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "scenario"))

from harness.clients import refused  # noqa: E402
from harness.cluster import Account, Cluster  # noqa: E402
from harness.network import Network  # noqa: E402
from harness.processes import read, wait_for  # noqa: E402

PORT = 8500
ROUNDS = int(os.environ.get("ROUNDS", "7"))
SECONDS = "1"
CONNECTIONS = "32"
WORK = {"keep-alive": [], "a connection per request": ["-H", "Connection: close"]}
WORK_CHOSEN = os.environ.get("WORK", "")  # a part of the name
MANY = 100
IDLE_SECONDS = 3


def cpu_seconds(pids):
    """CPU time of these processes with all their threads, to the nanosecond."""
    total = 0
    for pid in pids:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                fields = read(pid, f"task/{thread}/schedstat").split()
                total += int(fields[0]) if fields else 0
        except OSError:
            pass
    return total / 1e9


def memory_kilobytes(pids, field):
    found = [re.search(rf"^{field}:\s+(\d+)", read(pid, "smaps_rollup").decode(), re.M)
             for pid in pids]
    return sum(int(match.group(1)) for match in found if match)


class Contender:
    """The program in one of the ways to run it."""

    def __init__(self, name, server_pids, own_pids, network):
        self.name, self.server_pids, self.own_pids = name, server_pids, own_pids
        self.network = network

    def measure(self, extra):
        """(requests per second, µs of CPU per request, CPU share of enginx's own processes)"""
        with self.network.inside():
            server, own = cpu_seconds(self.server_pids), cpu_seconds(self.own_pids())
            client = children_seconds()
            started = time.monotonic()
            done = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", *extra,
                                   f"http://127.0.0.1:{PORT}/"],
                                  capture_output=True, text=True, check=True)
            took = time.monotonic() - started
            busy = (cpu_seconds(self.server_pids) - server) + (children_seconds() - client)
            own = cpu_seconds(self.own_pids()) - own
        requests = int(re.search(r"(\d+) requests in", done.stdout).group(1))
        errors = re.search(r"Socket errors:.*", done.stdout)
        if errors and not re.search(r"connect 0, read 0, write 0, timeout 0", errors.group(0)):
            print(f"  {self.name}: {errors.group(0)}", file=sys.stderr)
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout).group(1))
        return rate, busy / requests * 1e6, own / took


def children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def configuration(server, instances=1):
    return f"service web {{ run {server}; instances {instances}; }}\n"


def compare(contenders):
    """The table of one kind of work after the other."""
    for work, extra in WORK.items():
        if WORK_CHOSEN not in work:
            continue
        results = {contender.name: [] for contender in contenders}
        for contender in contenders:
            contender.measure(extra)  # warms caches; not counted
        for turn in range(ROUNDS):
            order = contenders if turn % 2 == 0 else contenders[::-1]
            for contender in order:
                results[contender.name].append(contender.measure(extra))
        print(f"\n{work}: {CONNECTIONS} connections, {ROUNDS} rounds of {SECONDS} s")
        print(f"  {'':22}{'requests/s':>12}{'ratio':>8}{'µs CPU/request':>17}{'ratio':>8}"
              f"{'CPU of enginx':>16}")
        base = results[contenders[0].name]
        for contender in contenders:
            mine = results[contender.name]
            rate, cpu, own = (statistics.median(column) for column in zip(*mine))
            rate_ratio = statistics.median(a[0] / b[0] for a, b in zip(mine, base))
            cpu_ratio = statistics.median(a[1] / b[1] for a, b in zip(mine, base))
            print(f"  {contender.name:22}{rate:12.0f}{rate_ratio:8.3f}{cpu:17.1f}{cpu_ratio:8.3f}"
                  f"{own * 100:14.2f} %", flush=True)


def listening(count):
    """At least so many listeners on the port in this namespace."""
    lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    return sum(1 for line in lines
               if line.split()[1].endswith(f":{PORT:04X}") and line.split()[3] == "0A") >= count


def start_many(place, binary, server, account):
    """Seconds: plain fork and exec of a hundred programs (of which one gets the port); from enginx's
    start until all of its listen; until status calls all of them up."""
    network = Network()
    try:
        with network.inside():
            started = time.monotonic()
            plain = [subprocess.Popen([server], stderr=subprocess.DEVNULL) for _ in range(MANY)]
            alone = time.monotonic() - started
            for process in plain:
                process.kill()
                process.wait()
            cluster = make_cluster(place, binary, account, network, f"many-{account.name}")
            try:
                started = time.monotonic()
                cluster.up(configuration(server, MANY))
                wait_for(lambda: listening(MANY), 30, "the listeners")
                together = time.monotonic() - started
                cluster.wait_up(MANY, within=30)
                up = time.monotonic() - started
            finally:
                cluster.end()
    finally:
        network.close()
    return alone, together, up


def make_cluster(place, binary, account, network, name):
    directory = place / name
    directory.mkdir()
    os.chown(directory, account.uid, account.gid)
    return Cluster(binary, directory, account, network)


def main():
    if os.geteuid() != 0:
        sys.exit("make bench needs root: it makes network namespaces")
    source = Path(os.environ.get("ENGINX", ROOT / "build" / "enginx"))
    place = Path(tempfile.mkdtemp(prefix="enginx-bench-"))
    place.chmod(0o755)
    binary = shutil.copy2(source, place / "enginx")
    before = os.environ.get("AGAINST")
    if before:
        before = shutil.copy2(before, place / "enginx-before")
        ways = [("before, as root", before, "root"), ("now, as root", binary, "root")]
    else:
        ways = [(f"enginx as {user}", binary, user) for user in ("root", "nobody")]
    server = place / "server"
    subprocess.run(["gcc", "-O2", "-o", server, Path(__file__).parent / "server.c"], check=True)

    networks, clusters, plain = [Network() for _ in range(3)], [], None
    try:
        with networks[0].inside():
            plain = subprocess.Popen([server])
            wait_for(lambda: not refused(PORT), 5, "the program to listen")
        contenders = [Contender("alone", [plain.pid], lambda: [], networks[0]),
                      Contender("alone, once more", [plain.pid], lambda: [], networks[0])]
        for network, (name, of_way, user) in zip(networks[1:], ways):
            with network.inside():
                cluster = make_cluster(place, of_way, Account(user), network, name.split()[-1] + of_way.name)
                clusters.append(cluster)
                cluster.up(configuration(server))
                pid = cluster.wait_up(1)[1]["pid"]
            path = cluster.service()["why"]
            print(f"{name}: {path}")
            contenders.append(Contender(name, [pid], cluster.enginx_processes, network))

        compare(contenders)
        if before:
            return

        print(f"\nidle, one service of one instance, over {IDLE_SECONDS} s")
        print(f"  {'':22}{'processes':>12}{'RSS':>11}{'PSS':>11}{'CPU':>10}")
        for cluster in clusters:
            pids = cluster.enginx_processes()
            before = cpu_seconds(pids)
            time.sleep(IDLE_SECONDS)
            share = (cpu_seconds(pids) - before) / IDLE_SECONDS
            print(f"  enginx as {cluster.account.name:12}{len(pids):12}"
                  f"{memory_kilobytes(pids, 'Rss') / 1024:8.1f} MB"
                  f"{memory_kilobytes(pids, 'Pss') / 1024:8.1f} MB{share * 100:8.2f} %")
    finally:
        for network, cluster in zip(networks[1:], clusters):
            with network.inside():
                cluster.end()
        if plain is not None:
            plain.send_signal(signal.SIGKILL)
            plain.wait()

    print(f"\nstart of {MANY} instances, in seconds")
    print(f"  {'':22}{'fork and exec':>14}{'all listen':>12}{'all up':>9}")
    for user in ("root", "nobody"):
        alone, together, up = start_many(place, binary, str(server), Account(user))
        print(f"  enginx as {user:12}{alone:14.2f}{together:12.2f}{up:9.2f}")
    shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
