#!/usr/bin/python3
"""Steering by seccomp notification, over real programs: what users see. Runs steering_drive as root
and as an unprivileged user, in a network namespace of its own. Skips without root. Usage: steering_test.py DRIVER [NAME...]; speaks TAP."""
import collections
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

NOBODY = 65534
PROGRAM = """
import os, socket, sys, threading
name, address, port = os.environ['NAME'], sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
s.bind((address, port)); s.listen(64)
def serve(c):
    try:
        while c.recv(4096):
            c.sendall(('HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s' % (len(name), name)).encode())
    except OSError:
        pass
    c.close()
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
UDP_PROGRAM = """
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', int(sys.argv[1])))
while True:
    data, peer = s.recvfrom(2048)
    s.sendto(os.environ['NAME'].encode() + b' ' + data, peer)
"""
CLUSTER = """
const cluster = require('cluster'), http = require('http');
if (cluster.isPrimary) { cluster.fork(); cluster.fork(); }
else http.createServer((q, r) => r.end('node')).listen(3000);
"""
CONNECTS = """
import os, socket, sys
kind, port, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def ask(family, host):
    s = socket.socket(family)
    if kind == 'timeout': s.settimeout(5)
    s.connect((host, port)); assert os.get_blocking(s.fileno()) == (kind == 'blocking')
    s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); s.settimeout(5)
    return s.recv(4096).decode().split('\\r\\n\\r\\n')[1]
text = ask(socket.AF_INET, '127.0.0.1') + ' ' + ask(socket.AF_INET6, '::1')
open(out + '.new', 'w').write(text); os.rename(out + '.new', out)
import time; time.sleep(1000)
"""
TWICE = """
import errno, socket, time
a = socket.socket(); a.bind(('', 3000)); a.listen()
b = socket.socket()
try:
    b.bind(('', 3000))
except OSError as e:
    assert e.errno == errno.EADDRINUSE
else:
    raise SystemExit
a.close(); b.bind(('', 3000)); b.listen()
c = socket.socket(); c.bind(('', 3002)); c.listen()
time.sleep(1000)
"""


class Drive:
    """The driver, and what it said."""

    def __init__(self, uid, lines):
        self.folder = tempfile.mkdtemp(prefix="steering-")
        os.chmod(self.folder, 0o777)
        for name, text in (("serve.py", PROGRAM), ("udp.py", UDP_PROGRAM), ("cluster.js", CLUSTER),
                           ("connects.py", CONNECTS)):
            with open(os.path.join(self.folder, name), "w") as file:
                file.write(text)
        prefix = []
        if uid:
            prefix = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--"]
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.folder}
        self.process = subprocess.Popen(prefix + [DRIVER], stdin=subprocess.PIPE, env=env,
                                        stdout=subprocess.PIPE, stderr=LOG, cwd=self.folder)
        self.events = []
        self.answers = queue.Queue()
        self.changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        for line in lines:
            self.do(line)

    def _read(self):
        for raw in self.process.stdout:
            line = raw.decode().rstrip()
            if line == "ok" or line.startswith("error"):
                self.answers.put(line)
            else:
                with self.changed:
                    self.events.append(line)
                    self.changed.notify_all()

    def do(self, line, expected="ok"):
        self.process.stdin.write((line + "\n").encode())
        self.process.stdin.flush()
        answer = self.answers.get(timeout=20)
        assert answer == expected, (line, answer, self.events[-5:])

    def wait(self, event, since=0, within=15):
        end = time.monotonic() + within
        with self.changed:
            while event not in self.events[since:]:
                left = end - time.monotonic()
                assert left > 0, ("no event", event, self.events)
                self.changed.wait(left)

    def serve(self, slot, service, number, port, address="0.0.0.0", name=None, program=None):
        since = len(self.events)
        command = program or "exec /usr/bin/python3 serve.py %s %d" % (address, port)
        self.do("start %d %d %d NAME=%s; export NAME; %s"
                % (slot, service, number, name or "i%d" % slot, command))
        self.wait("listens %d tcp %d" % (slot, port), since)

    def again(self, slot, port):
        since = len(self.events)
        self.do("again %d" % slot)
        self.wait("listens %d tcp %d" % (slot, port), since)

    def end(self):
        try:
            self.do("quit")
            assert self.process.wait(10) == 0
        finally:
            self.process.kill()
            shutil.rmtree(self.folder, ignore_errors=True)


def ask(host, port, timeout=5):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as s:
        s.settimeout(timeout)
        s.connect((host, port))
        s.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        data = s.recv(65536)
        while b"\r\n\r\n" not in data:
            more = s.recv(65536)
            if not more:
                break
            data += more
        return data.decode(errors="replace").partition("\r\n\r\n")[2]


def spread(host, port, count=200):
    return collections.Counter(ask(host, port) for _ in range(count))


def refused(host, port):
    try:
        ask(host, port, 1)
        return False
    except OSError:
        return True


# ---- tests: each gets the user id ----------------------------------------------------------------

def weights_drain_and_own_addresses(uid):
    d = Drive(uid, ["service web least", "setup seccomp"])
    try:
        for slot in range(3):
            d.serve(slot, 0, slot + 1, 3000)
        d.do("rotate 0 0:6 1:3 2:1")
        got = spread("127.0.0.1", 3000, 400)
        assert 180 < got["i0"] < 300 and 70 < got["i1"] < 170 and 10 < got["i2"] < 80, got
        d.do("rotate 0 0:1 1:0 2:1")
        got = spread("127.0.0.1", 3000, 100)
        assert got["i1"] == 0 and got["i0"] > 20 and got["i2"] > 20, got
        for slot in range(3):
            got = spread("127.77.1.%d" % (slot + 1), 3000, 10)
            assert got == {"i%d" % slot: 10}, got
        d.do("rotate 0 0:0 1:0 2:0")  # nobody: the last ones still serve
        assert sum(spread("127.0.0.1", 3000, 20).values()) == 20
        d.do("stop 0")  # the last member moves into its place
        d.do("rotate 0 1:1 2:0")
        assert spread("127.0.0.1", 3000, 30) == {"i1": 30}
        assert spread("127.77.1.3", 3000, 10) == {"i2": 10}
        d.do("stop 1")
        d.do("stop 2")
        assert refused("127.0.0.1", 3000)
    finally:
        d.end()


def two_services_on_one_port(uid):
    d = Drive(uid, ["service a least", "service b least", "setup seccomp"])
    try:
        d.serve(0, 1, 1, 3000, name="b1")
        d.serve(1, 0, 1, 3000, name="a1")
        d.serve(2, 0, 2, 3000, name="a2", address="127.0.0.1")  # only there: joins all the same
        d.do("rotate 0 1:1 2:1")
        d.do("rotate 1 0:1")
        assert spread("127.86.0.2", 3000, 30) == {"b1": 30}
        got = spread("127.86.0.1", 3000, 60)
        assert got["a1"] > 10 and got["a2"] > 10 and len(got) == 2, got
        got = spread("127.0.0.1", 3000, 30)  # the first of the topology owns the rest
        assert got["b1"] == 0, got
        assert spread("127.77.2.1", 3000, 10) == {"b1": 10}
    finally:
        d.end()


def hash_of_the_client(uid):
    d = Drive(uid, ["service web hash", "setup seccomp"])
    try:
        for slot in range(3):
            d.serve(slot, 0, slot + 1, 3000)
        d.do("rotate 0 0:1 1:1 2:1")
        assert len(spread("127.0.0.1", 3000, 30)) == 1
    finally:
        d.end()


def the_port_taken_twice_by_one_program(uid):
    d = Drive(uid, ["service web least", "setup seccomp"])
    try:
        write(d, "twice.py", TWICE)
        d.serve(0, 0, 1, 3002, program="exec /usr/bin/python3 twice.py")
        assert d.events.count("listens 0 tcp 3000") == 2, d.events
        with socket.create_connection(("127.0.0.1", 3000), 2):
            pass
    finally:
        d.end()


def write(d, name, text):
    with open(os.path.join(d.folder, name), "w") as file:
        file.write(text)


class Client(threading.Thread):
    """A closed loop: one connection after the other; counts what was refused or cut."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.done = port, False
        self.ok = self.refused = self.cut = self.unanswered = 0

    def run(self):
        while not self.done:
            try:
                ask("127.0.0.1", self.port, 5)
                self.ok += 1
            except ConnectionRefusedError:
                self.refused += 1
            except TimeoutError:
                self.unanswered += 1
            except OSError:
                self.cut += 1
            time.sleep(0.005)


def killed(uid, program, port, kills=10):
    d = Drive(uid, ["service web least", "setup seccomp"])
    try:
        d.serve(0, 0, 1, port, program=program)
        d.do("rotate 0 0:1")
        client = Client(port)
        client.start()
        for _ in range(kills):
            time.sleep(0.2)
            d.do("kill 0")
            d.do("rotate 0 0:0")
            time.sleep(0.3)
            d.again(0, port)
            d.do("rotate 0 0:1")
        time.sleep(0.2)
        client.done = True
        client.join(15)
        assert client.refused == 0 and client.unanswered == 0, vars(client)
        assert client.cut <= kills and client.ok > 3 * kills, vars(client)
    finally:
        d.end()


def kill_9_python(uid):
    killed(uid, None, 3000)


def kill_9_http_server(uid):
    killed(uid, "exec /usr/bin/python3 -m http.server 8000", 8000, 3)


def kill_9_node(uid):
    killed(uid, "exec node -e \"require('http').createServer((q,r)=>r.end('n')).listen(3000)\"",
           3000, 3)


def kill_9_redis(uid):
    # Its answer to a GET is an error line, which is an answer.
    killed(uid, "exec redis-server --port 6379 --save '' --protected-mode no", 6379, 3)


def kill_9_of_one_of_three(uid):
    d = Drive(uid, ["service web least", "setup seccomp"])
    try:
        for slot in range(3):
            d.serve(slot, 0, slot + 1, 3000)
        d.do("rotate 0 0:1 1:1 2:1")
        client = Client(3000)
        client.start()
        for turn in range(6):
            slot = turn % 3
            time.sleep(0.1)
            d.do("kill %d" % slot)
            assert spread("127.0.0.1", 3000, 20)["i%d" % slot] == 0
            d.again(slot, 3000)
            d.do("rotate 0 0:1 1:1 2:1")
        client.done = True
        client.join(15)
        assert client.refused == 0 and client.unanswered == 0 and client.cut <= 6, vars(client)
        got = spread("127.0.0.1", 3000, 150)
        assert len(got) == 3 and min(got.values()) > 20, got
    finally:
        d.end()


def the_supervisor_restarts(uid):
    d = Drive(uid, ["service web least", "setup seccomp"])
    try:
        for slot in range(4):
            d.serve(slot, 0, slot + 1, 3000)
        d.do("rotate 0 0:1 1:1 2:1 3:1")
        d.do("stop 1")  # the order is no longer that of joining
        since = len(d.events)
        d.do("crash")
        d.wait("listens 3 tcp 3000", since)
        for weights, who in (("0:1 2:0 3:0", "i0"), ("0:0 2:1 3:0", "i2"), ("0:0 2:0 3:1", "i3")):
            d.do("rotate 0 " + weights)
            assert spread("127.0.0.1", 3000, 20) == {who: 20}, (weights, who)
        d.do("kill 2")  # the new one knows the notification descriptors as well
        d.again(2, 3000)
        d.do("rotate 0 0:0 2:1 3:0")
        assert spread("127.0.0.1", 3000, 20) == {"i2": 20}
    finally:
        d.end()


def both_restart(uid):
    """The supervisor dies while an instance is down; what waits in the listener waits for both."""
    d = Drive(uid, ["service web least", "setup seccomp"])
    try:
        d.serve(0, 0, 1, 3000)
        d.do("rotate 0 0:1")
        d.do("kill 0")
        client = Client(3000)
        client.start()
        time.sleep(0.1)
        d.do("crash")
        d.again(0, 3000)
        d.do("rotate 0 0:1")
        time.sleep(0.3)
        client.done = True
        client.join(10)
        assert client.ok > 3 and client.refused + client.cut + client.unanswered == 0, vars(client)
    finally:
        d.end()


def published_under_another_port(uid):
    d = Drive(uid, ["service web least", "listen 8080 tcp 0 3000", "setup seccomp"])
    try:
        d.serve(0, 0, 1, 3000, program="exec node cluster.js")
        d.serve(1, 0, 2, 3000, program="exec node cluster.js")
        d.do("rotate 0 0:1 1:1")
        assert spread("127.0.0.1", 8080, 20) == {"node": 20}
        assert refused("127.0.0.1", 3000)
        assert spread("127.77.1.2", 8080, 5) == {"node": 5}
    finally:
        d.end()


def own_port_and_uses(uid):
    for kind in ("blocking", "timeout"):
        d = Drive(uid, ["service web least uses=1", "service db least",
                        "listen 6000 tcp 1 5432", "setup seccomp"])
        try:
            d.serve(0, 1, 1, 5432, name="db")
            d.do("rotate 1 0:1")
            d.serve(1, 0, 1, 3000)
            d.serve(2, 0, 2, 3000)
            d.do("rotate 0 1:1 2:1")
            # A program of instance 2 that listens too, and connects to what it uses.
            both = "/usr/bin/python3 serve.py 0.0.0.0 3001 & /usr/bin/python3 connects.py %s %d out"
            d.serve(3, 0, 3, 3001, name="self", program=both % (kind, 5432))
            assert result(d) == "db db"
            for _ in range(3):
                d.do("stop 3")
                d.serve(3, 0, 3, 3000, name="self", program=(
                    "/usr/bin/python3 serve.py 0.0.0.0 3000 & sleep 0.3; "
                    "exec /usr/bin/python3 connects.py %s 3000 out") % kind)
                assert result(d) == "self self"
        finally:
            d.end()


def result(d):
    path = os.path.join(d.folder, "out")
    end = time.monotonic() + 10
    while not os.path.exists(path):
        assert time.monotonic() < end, d.events
        time.sleep(0.02)
    with open(path) as file:
        text = file.read()
    os.unlink(path)
    return text


def killed_while_connecting(uid):
    """Its own queue is full, so a blocking connect waits; the supervisor does not."""
    program = """
import os, socket, threading, time
a = socket.socket(); a.bind(('127.0.0.1', 3000)); a.listen(0)
def go():
    socket.create_connection(('127.0.0.1', 3000))
    time.sleep(1000)
for _ in range(4): threading.Thread(target=go, daemon=True).start()
time.sleep(0.5); b = socket.socket(); b.bind(('', 3001)); b.listen(); time.sleep(1000)
"""
    d = Drive(uid, ["service web least", "service b least", "setup seccomp"])
    try:
        write(d, "full.py", program)
        d.serve(0, 0, 1, 3001, program="exec /usr/bin/python3 full.py")
        d.serve(1, 1, 1, 3002)
        assert ask("127.0.0.1", 3002) == "i1"
        d.do("kill 0")
        d.do("stop 0")
        assert ask("127.0.0.1", 3002) == "i1"
    finally:
        d.end()


def a_port_of_the_kernels_choice(uid):
    d = Drive(uid, ["service web least", "setup seccomp"])
    try:
        write(d, "any.py", "import socket, time\na = socket.socket(); a.bind(('', 0)); a.listen()\n"
              "c = socket.create_connection(a.getsockname()); assert a.accept()\n"
              "open('port', 'w').write(str(a.getsockname()[1])); time.sleep(1000)\n")
        d.do("start 0 0 1 exec /usr/bin/python3 any.py")
        path = os.path.join(d.folder, "port")
        end = time.monotonic() + 5
        while not os.path.exists(path) or not open(path).read():
            assert time.monotonic() < end
            time.sleep(0.02)
        d.wait("listens 0 tcp " + open(path).read())
        with socket.create_connection(("127.0.0.1", int(open(path).read())), 2):
            pass
    finally:
        d.end()


def udp_stays_with_one(uid):
    d = Drive(uid, ["service echo least", "setup seccomp"])
    try:
        for slot in range(3):
            since = len(d.events)
            d.do("start %d 0 %d NAME=u%d exec /usr/bin/python3 udp.py 4000" % (slot, slot + 1, slot))
            d.wait("listens %d udp 4000" % slot, since)
        d.do("rotate 0 0:1 1:1 2:1")
        seen = collections.Counter()
        for _ in range(30):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(3)
                s.connect(("127.0.0.1", 4000))
                names = set()
                for _ in range(4):
                    s.send(b"x")
                    names.add(s.recv(100).decode().split()[0])
                assert len(names) == 1, names
                seen[names.pop()] += 1
        assert len(seen) == 3, seen
        d.do("rotate 0 0:0 1:1 2:0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(10)
            s.connect(("127.0.0.1", 4000))
            s.send(b"x")
            assert s.recv(100).startswith(b"u1")
            d.do("stop 0")
            time.sleep(0.4)  # its descriptor leaves a little later
            s.send(b"x")
            assert s.recv(100).startswith(b"u1")
            d.do("kill 1")
            d.do("rotate 0 1:1 2:0")
            s.send(b"y")  # waits in the kept socket
            since = len(d.events)
            d.do("again 1")
            d.wait("listens 1 udp 4000", since)
            assert s.recv(100) == b"u1 y"
    finally:
        d.end()


def real_programs_share(uid):
    nginx = ("daemon off; worker_processes 2; pid nginx.pid; error_log stderr; events {} http { "
             "access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; "
             "uwsgi_temp_path t4; scgi_temp_path t5; server { listen 8081; "
             "listen [::]:8081 ipv6only=on; location / { return 200 nginx; } } }")
    php = "mkdir -p p; echo 'php' > p/index.html; exec php -S 0.0.0.0:8083 -t p"
    d = Drive(uid, ["service s least", "setup seccomp"])
    try:
        write(d, "nginx.conf", nginx)
        cases = ((8081, "exec nginx -p . -c nginx.conf -e stderr"),
                 (6379, "exec redis-server --port 6379 --save '' --protected-mode no"),
                 (11211, "exec memcached -u nobody -p 11211"),
                 (8083, php),
                 (3000, "exec node -e \"require('http').createServer((q,r)=>r.end('n'))"
                        ".listen(3000)\""))
        for port, program in cases:
            for slot in range(3):
                d.serve(slot, 0, slot + 1, port, program=program)
            d.do("rotate 0 0:1 1:1 2:1")
            for _ in range(30):
                assert ask("127.0.0.1", port) is not None
            for slot in range(3):
                ask("127.77.1.%d" % (slot + 1), port)
            if port == 8081:
                assert ask("::1", port) == "nginx"
            for slot in range(3):
                d.do("stop %d" % slot)
            assert refused("127.0.0.1", port), port
    finally:
        d.end()


def workers_with_listeners_of_their_own(uid):
    conf = ("daemon off; worker_processes 2; pid nginx%d.pid; events {} http { access_log off; "
            "client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4;"
            "scgi_temp_path t5; server { listen 8082 %s; return 200 n%d; } }")
    d = Drive(uid, ["service s least", "setup seccomp"])
    try:
        for slot in range(2):
            write(d, "n%d.conf" % slot, conf % (slot, "" if slot else "reuseport", slot))
            d.serve(slot, 0, slot + 1, 8082,
                    program="exec nginx -p . -e stderr -c n%d.conf" % slot)
        d.do("rotate 0 0:1 1:1")  # instances get the same, though one has two listeners
        got = spread("127.0.0.1", 8082, 400)
        assert 150 < got["n0"] < 240, got
        d.do("kill 0")
        assert spread("127.0.0.1", 8082, 20) == {"n1": 20}
        d.again(0, 8082)
        time.sleep(0.2)  # until its second listener is back as well
        d.do("rotate 0 0:1 1:0")
        assert spread("127.0.0.1", 8082, 40) == {"n0": 40}
        assert spread("127.77.1.1", 8082, 20) == {"n0": 20}
    finally:
        d.end()


def a_privileged_port(uid):
    d = Drive(uid, ["service web least", "listen 80 tcp 0 3000"])
    try:
        if uid:
            d.do("setup seccomp", "error EACCES")  # no program is to try
        else:
            d.do("setup seccomp")
            d.serve(0, 0, 1, 3000)
            assert ask("127.0.0.1", 80) == "i0"
    finally:
        d.end()


def only_local_unless_published(uid):
    run("ip link add v0 type veth peer name v1")
    # A neighbour: another namespace at the other end of a veth.
    other = subprocess.Popen(["unshare", "-n", "sleep", "100"])
    try:
        while os.readlink("/proc/%d/ns/net" % other.pid) == os.readlink("/proc/self/ns/net"):
            time.sleep(0.02)
        run("ip link set v1 netns %d && ip addr add 10.9.0.1/24 dev v0 && ip link set v0 up"
            % other.pid)
        inside = "nsenter -t %d -n " % other.pid
        run(inside + "ip addr add 10.9.0.2/24 dev v1 && " + inside + "ip link set v1 up")
        d = Drive(uid, ["service shut least", "service open least publish", "service front least",
                        "service named least", "listen 3002 tcp 2 3002",
                        "listen 3003 tcp 3 3003 10.9.0.1", "setup seccomp"])
        try:
            for service in range(4):
                d.serve(service, service, 1, 3000 + service)
                d.do("rotate %d %d:1" % (service, service))
            probe = inside + "timeout 1 /usr/bin/python3 -c \"import socket; " \
                             "socket.create_connection(('10.9.0.1', %d), 0.7)\" 2>/dev/null"
            reached = [subprocess.call(probe % (3000 + i), shell=True) == 0 for i in range(4)]
            assert reached == [False, True, True, True], reached
            assert ask("10.9.0.1", 3000) == "i0"  # this machine's own clients may
            assert ask("127.0.0.1", 3003) == "i3"
        finally:
            d.end()
    finally:
        other.kill()
        other.wait()
        subprocess.call("ip link del v0 2>/dev/null", shell=True)


def run(command):
    subprocess.run(command, shell=True, check=True)


def a_listener_that_is_closed_alone(uid):
    program = """
import socket, time
a = socket.socket(); a.bind(('', 3000)); a.listen(); time.sleep(0.5); a.close(); time.sleep(1000)
"""
    d = Drive(uid, ["service web least", "setup seccomp"])
    try:
        write(d, "closes.py", program)
        d.serve(0, 0, 1, 3000, program="exec /usr/bin/python3 closes.py")
        d.serve(1, 0, 2, 3000)
        d.do("rotate 0 0:1 1:1")
        time.sleep(0.6)
        waiting = [socket.create_connection(("127.0.0.1", 3000), 5) for _ in range(10)]
        time.sleep(3.5)
        assert spread("127.0.0.1", 3000, 30) == {"i1": 30}
        for s in waiting:
            s.close()
    finally:
        d.end()


def nothing_steers(uid):
    d = Drive(uid, ["service web least", "setup none"])
    try:
        # Not a port of another test: without us, what is in TIME_WAIT hinders a bind.
        d.serve(0, 0, 1, 3900)
        assert ask("127.0.0.1", 3900) == "i0"
    finally:
        d.end()


def the_best_is_chosen_and_explained(uid):
    d = Drive(uid, ["service web least", "setup auto"])
    try:
        why = [e for e in d.events if e.startswith("why")][0]
        assert "seccomp" in why and "BPF needs" in why, why
        d.serve(0, 0, 1, 3000)
        assert ask("127.0.0.1", 3000) == "i0"
    finally:
        d.end()


TESTS = (weights_drain_and_own_addresses, two_services_on_one_port, hash_of_the_client,
         the_port_taken_twice_by_one_program, kill_9_python, kill_9_http_server, kill_9_node,
         kill_9_redis, kill_9_of_one_of_three, the_supervisor_restarts, both_restart,
         published_under_another_port, own_port_and_uses,
         killed_while_connecting, a_port_of_the_kernels_choice, udp_stays_with_one, real_programs_share,
         workers_with_listeners_of_their_own, a_privileged_port,
         only_local_unless_published, a_listener_that_is_closed_alone, nothing_steers,
         the_best_is_chosen_and_explained)


def main():
    run("ip link set lo up")
    chosen = [t for t in TESTS if not sys.argv[2:] or t.__name__ in sys.argv[2:]]
    print("1..%d" % (2 * len(chosen)))
    number = failed = 0
    for test in chosen:
        for uid in (NOBODY, 0):
            number += 1
            began = time.monotonic()
            try:
                test(uid)
                word = "ok"
            except Exception:
                word = "not ok"
                failed += 1
                print("\n".join("# " + l for l in traceback.format_exc().splitlines()))
            print("%s %d - %s as %s (%.1f s)" % (word, number, test.__name__, uid or "root",
                                                 time.monotonic() - began), flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for a network namespace")
        sys.exit(0)
    if "STEERING_TEST_INSIDE" not in os.environ:
        os.environ["STEERING_TEST_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "-n", "--", sys.executable] + sys.argv)
    # A copy, since an unprivileged user may not reach the build's folder.
    PLACE = tempfile.mkdtemp(prefix="steering-drive-")
    os.chmod(PLACE, 0o755)
    DRIVER = shutil.copy(sys.argv[1], PLACE)
    LOG = open(os.environ.get("STEERING_TEST_LOG", "/dev/null"), "w")
    try:
        main()
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)
