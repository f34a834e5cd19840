"""The gateway's part of `make bench`: enginx beside nginx, HAProxy, Caddy and the floor, on one core
each, the load and the origin on another, alternating in one run. The figure that counts is the CPU
time of the proxy's processes per request (schedstat, to the nanosecond); throughput stands beside it.

    bench.py [ROW…]        rows by the start of their names; without any, all
    ROUNDS=5 SECONDS=1     how often, how long; PEERS="enginx nginx" who
    AGAINST="PATH …"       other builds of enginx (of before a change) in the same rounds
"""

import itertools
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE))

import peers as proxies  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS", "1"))
WANTED = os.environ.get("PEERS", "direct floor enginx nginx haproxy caddy").split()
PROXY_CPU, LOAD_CPU = 0, 1
IDLE_CONNECTIONS = 5000

ROWS = {  # name → (kind of load, port, arguments); "idle" first: nothing was allocated before
    "idle": ("idle", "http", dict()),
    "small": ("wrk", "http", dict(path="/100", connections=64)),
    "small-256": ("wrk", "http", dict(path="/100", connections=256)),
    "64k": ("wrk", "http", dict(path="/65536", connections=64)),
    "1m": ("wrk", "http", dict(path="/1048576", connections=16)),
    "connection": ("wrk", "http", dict(path="/100", connections=64, close=True)),
    "file-1k": ("wrk", "http", dict(path="/files/1k.html", connections=64)),
    "file-16k": ("wrk", "http", dict(path="/files/16k.css", connections=64)),
    "file-128k": ("wrk", "http", dict(path="/files/128k.jpg", connections=16)),
    "file-4m": ("wrk", "http", dict(path="/files/4m.bin", connections=8)),
    "cache-1k": ("wrk", "http", dict(path="/cached/1024", connections=64)),
    "cache-16k": ("wrk", "http", dict(path="/cached/16384", connections=64)),
    "cache-64k": ("wrk", "http", dict(path="/cached/65536", connections=64)),
    "cache-256k": ("wrk", "http", dict(path="/cached/262144", connections=16)),
    "cache-1m": ("wrk", "http", dict(path="/cached/1048576", connections=8)),
    "gzip": ("wrk", "http", dict(path="/text/page.html", connections=64, accept="gzip")),
    "latency-20000": ("h2load", "http", dict(path="/100", connections=50, rate=400)),
    "fastcgi": ("wrk", "php", dict(path="/hello.php", connections=64)),
    "tls": ("wrk", "tls", dict(path="/100", connections=64)),
    "tls-handshake": ("wrk", "tls", dict(path="/100", connections=16, close=True)),
    "h2": ("h2", "tls", dict(path="/100", connections=32, streams=10)),
    "h2-1": ("h2", "tls", dict(path="/100", connections=64, streams=1)),
    "h2-1m": ("h2", "tls", dict(path="/1048576", connections=8, streams=4)),
    "h2c": ("h2", "h2c", dict(path="/100", connections=32, streams=10)),
    "h2c-1m": ("h2", "h2c", dict(path="/1048576", connections=8, streams=4)),
    "grpc": ("h2", "grpc", dict(path="/shop.Stock/100", connections=32, streams=10, message=100)),
    "relay-bulk": ("wrk", "tcp", dict(path="/1048576", connections=16)),
    "relay-small": ("wrk", "tcp", dict(path="/100", connections=64)),
    "relay-connection": ("wrk", "tcp", dict(path="/100", connections=64, close=True)),
    "udp": ("udp", "udp", dict(clients=32, window=8, bytes=200)),
}
H2 = {row for row in ROWS if row.startswith("h2")} | {"grpc"}
FILES = {"1k.html": 1024, "16k.css": 16384, "128k.jpg": 131072, "4m.bin": 4 << 20}
TEXT_BYTES = 32768
FILE_ROWS = {row for row in ROWS if row.startswith("file-")} | {"gzip"}
CACHE_ROWS = {row for row in ROWS if row.startswith("cache-")}
WITHOUT = {"direct": {"idle", "fastcgi", "tls", "tls-handshake"} | H2 | FILE_ROWS | CACHE_ROWS,
           "floor": {"fastcgi", "64k", "1m", "connection", "tls", "tls-handshake", "udp", "relay-bulk",
                     "relay-connection"} | H2 | FILE_ROWS | CACHE_ROWS,
           "haproxy": {"fastcgi", "udp"} | FILE_ROWS | CACHE_ROWS,
           "caddy": {"fastcgi", "h2c", "h2c-1m", "grpc", "relay-bulk", "relay-small", "relay-connection",
                     "udp"} | FILE_ROWS | CACHE_ROWS}


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(path.read_text().split()[0])
            except (OSError, IndexError):
                pass
    return total / 1e9


def anonymous_bytes(pids):
    total = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"^Anonymous:\s+(\d+)", text, re.M).group(1)) * 1024
    return total


def on_load_cpu(command, **options):
    done = subprocess.run(["taskset", "-c", str(LOAD_CPU), *map(str, command)], capture_output=True,
                          text=True, timeout=60, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


def load_wrk(port, kind, path, connections, close=False, accept=None):
    scheme = "https" if kind == "tls" else "http"
    extra = ["-H", "Connection: close"] if close else []
    extra += ["-H", f"Accept-Encoding: {accept}"] if accept else []
    text = on_load_cpu(["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", *extra,
                        f"{scheme}://127.0.0.1:{port}{path}"])
    errors = re.search(r"Socket errors:.*|Non-2xx.*", text)
    if errors and not re.search(r"connect 0, read 0, write 0, timeout 0", errors.group(0)) and not close:
        print(f"    {errors.group(0)}", file=sys.stderr)
    requests = int(re.search(r"(\d+) requests in", text).group(1))
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    scale = {"us": 1e-3, "ms": 1, "s": 1e3}
    return requests, float(p99.group(1)) * scale[p99.group(2)] if p99 else 0


def load_h2load(port, kind, path, connections, rate):
    """A fixed rate, so that latencies can be compared: `rate` requests/s a connection."""
    total = int(connections * rate * SECONDS)
    with tempfile.NamedTemporaryFile() as log:
        on_load_cpu(["h2load", "--h1", f"-n{total}", f"-c{connections}", f"--rps={rate}", "-t1",
                     f"--log-file={log.name}", f"http://127.0.0.1:{port}{path}"])
        times = sorted(int(line.split()[2]) for line in Path(log.name).read_text().splitlines()
                       if line.split()[1] == "200")
    return len(times), times[int(len(times) * 0.99)] / 1000


def load_h2(port, kind, path, connections, streams, message=None):
    """As many requests as there can be; windows of 1 MB, that the proxy is what is measured. With a
    message: calls as gRPC makes them, of so many bytes."""
    scheme = "https" if kind == "tls" else "http"
    call = []
    if message:
        (PLACE / "message").write_bytes(message.to_bytes(5, "big") + b"m" * message)
        call = ["-d", PLACE / "message", "-H", "content-type: application/grpc", "-H", "te: trailers"]
    text = on_load_cpu(["h2load", f"-D{SECONDS}", f"-c{connections}", f"-m{streams}", "-t1", "-w20",
                        "-W24", *call, f"{scheme}://127.0.0.1:{port}{path}"])
    done, failed = map(int, re.search(r"(\d+) succeeded, (\d+) failed", text).groups())
    if failed:
        print(f"    {failed} failed of {done + failed}", file=sys.stderr)
    return done, 0


def load_udp(port, kind, clients, window, bytes):
    back, lost = map(int, on_load_cpu([PLACE / "datagrams", port, clients, window, bytes, SECONDS]).split())
    if lost > back / 100:
        print(f"    {lost} datagrams lost of {back}", file=sys.stderr)
    return back, 0


LOADS = {"wrk": load_wrk, "h2load": load_h2load, "h2": load_h2, "udp": load_udp}


def measure(peer, row):
    """(µs of CPU a request, requests/s, p99 in ms)"""
    load, kind, arguments = ROWS[row]
    pids = peer.pids()
    before, started = cpu_seconds(pids), time.monotonic()
    requests, p99 = LOADS[load](peer.ports[kind], kind, **arguments)
    took = time.monotonic() - started
    return ((cpu_seconds(pids) - before) / max(requests, 1) * 1e6, requests / took, p99)


def measure_idle(peer):
    """Bytes of user memory per idle connection, after one request on each."""
    pids = peer.gateway() if isinstance(peer, proxies.Enginx) else peer.pids()
    before = anonymous_bytes(pids)
    request = b"GET /100 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    held = []
    try:
        for _ in range(IDLE_CONNECTIONS):
            held.append(socket.create_connection(("127.0.0.1", peer.ports["http"]), timeout=5))
            held[-1].sendall(request)
            got = b""
            while b"x" * 100 not in got:
                piece = held[-1].recv(4096)
                if not piece:
                    raise RuntimeError(f"{peer.label} closed a connection")
                got += piece
        return (anonymous_bytes(pids) - before) / IDLE_CONNECTIONS
    finally:
        for one in held:
            one.close()
        time.sleep(0.3)


def compare(row, running):
    able = [peer for peer in running
            if row not in WITHOUT.get(peer.name, ()) and row not in WITHOUT.get(peer.label, ())]
    if row == "idle":
        print(f"\nidle: user memory per idle HTTP connection, bytes ({IDLE_CONNECTIONS} connections)")
        for peer in able:
            try:
                print(f"  {peer.label:22}{measure_idle(peer):10.0f}", flush=True)
            except (RuntimeError, OSError) as error:
                print(f"  {peer.label:22}         – ({error})", flush=True)
        return
    results = {peer.label: [] for peer in able}
    for peer in able:
        measure(peer, row)  # warms caches; not counted
    for turn in range(ROUNDS):
        for peer in able if turn % 2 == 0 else able[::-1]:
            results[peer.label].append(measure(peer, row))
    print(f"\n{row}: {ROWS[row][2]}, {ROUNDS} rounds of {SECONDS:g} s")
    print(f"  {'':22}{'µs CPU/request':>16}{'enginx is':>12}{'requests/s':>13}{'p99 ms':>9}")
    own = results.get("enginx")
    for label, rounds in results.items():
        cpu, rate, p99 = (statistics.median(column) for column in zip(*rounds))
        pairs = [a[0] / b[0] for a, b in zip(own or [], rounds) if b[0]]
        ratio = statistics.median(pairs) if pairs else 0
        print(f"  {label:22}{cpu:16.2f}{ratio:10.2f} ×{rate:13.0f}{p99:9.2f}", flush=True)


PORTS = itertools.count(20000)


def ports():
    """Free ones, below those that the kernel gives to clients."""
    found = {}
    for kind in ("http", "tls", "h2c", "grpc", "tcp", "udp", "php"):
        for port in PORTS:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    found[kind] = port
                    break
    return found


def unpaced():
    """The congestion control of the rows: one that does not pace, as Debian's own (cubic). Where the machine's
    is bbr, sends that come sooner than it wants arm a timer, within the send, and what was measured is how
    often. Only in a network namespace of our own."""
    setting = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    alone = len(Path("/proc/net/dev").read_text().splitlines()) == 3  # two of heading, and lo
    for name in ("cubic", "reno") if alone else ():
        try:
            setting.write_text(name)
            break
        except OSError:  # the machine does not allow it to a namespace
            pass
    return setting.read_text().strip()


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def wait_ready(peer):
    until = time.monotonic() + 10
    while not answers(next(iter(peer.ports.values()))):
        if time.monotonic() > until or (peer.process and peer.process.poll() is not None):
            sys.exit(f"{peer.label} does not listen:\n" + (peer.place / "output.txt").read_text()[-2000:])
        time.sleep(0.05)


def main():
    global PLACE
    control = unpaced()
    rows = [row for row in ROWS if not sys.argv[1:] or row in sys.argv[1:]
            or any(word.endswith("*") and row.startswith(word[:-1]) for word in sys.argv[1:])]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    binary = Path(os.environ.get("ENGINX", ROOT / "build" / "enginx"))
    PLACE = Path(tempfile.mkdtemp(prefix="enginx-bench-"))
    PLACE.chmod(0o755)
    binaries = {"": shutil.copy2(binary, PLACE / "enginx")}
    for number, path in enumerate(os.environ.get("AGAINST", "").split()):
        variant = "before" if number == 0 else f"before-{number + 1}"
        binaries[variant] = shutil.copy2(path, PLACE / f"enginx-{variant}")
    for program in ("origin", "responder", "floor", "datagrams"):
        subprocess.run(["gcc", "-O2", "-o", PLACE / program, HERE / f"{program}.c"], check=True)
    certificate = PLACE / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", PLACE / "key", "-out", certificate], check=True, capture_output=True)
    certificate.write_text(certificate.read_text() + (PLACE / "key").read_text())
    (PLACE / "public" / "files").mkdir(parents=True)
    for name, size in FILES.items():
        (PLACE / "public" / "files" / name).write_bytes(os.urandom(size))
    (PLACE / "public" / "text").mkdir()
    text = b"".join(path.read_bytes() for path in sorted((ROOT / "docs").glob("*.md")))
    (PLACE / "public" / "text" / "page.html").write_bytes(text[:TEXT_BYTES])
    origin_port = ports()["http"]
    origin = subprocess.Popen(["taskset", "-c", str(LOAD_CPU), PLACE / "origin", str(origin_port)])
    responder_port = ports()["http"]
    responder = subprocess.Popen(["taskset", "-c", str(LOAD_CPU), PLACE / "responder",
                                  str(responder_port)])
    memory = Path(tempfile.mkdtemp(prefix="enginx-bench-", dir="/dev/shm"))  # nginx keeps answers in files
    grpc_port = ports()["http"]
    (PLACE / "public" / "shop.Stock").mkdir()
    (PLACE / "public" / "shop.Stock" / "100").write_bytes((100).to_bytes(5, "big") + b"x" * 100)
    callee = subprocess.Popen(["taskset", "-c", str(LOAD_CPU), "nghttpd", "--no-tls", "-a", "127.0.0.1", "-d",
                               PLACE / "public", "--trailer", "grpc-status: 0", str(grpc_port)],
                              stdout=subprocess.DEVNULL)
    running = []
    try:
        running = proxies.make(WANTED, dict(origin=origin_port, callee=grpc_port, certificate=certificate,
                                            public=PLACE / "public", responder=responder_port,
                                            memory=memory), PLACE,
                               PROXY_CPU, binaries, PLACE / "floor", ports)
        for peer in running:
            wait_ready(peer)
        time.sleep(0.5)
        print("RSA 2048 certificates, OpenSSL; proxies on one core, load and origin on the other; "
              f"TCP {control}")
        for row in rows:
            compare(row, running)
    finally:
        for peer in running:
            peer.end()
        origin.kill()
        origin.wait()
        responder.kill()
        responder.wait()
        callee.kill()
        callee.wait()
        shutil.rmtree(PLACE, ignore_errors=True)
        shutil.rmtree(memory, ignore_errors=True)


if __name__ == "__main__":
    main()
