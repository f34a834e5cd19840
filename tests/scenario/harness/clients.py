"""Clients: one request, a load that counts what went wrong, and many connections held at once."""

import collections
import http.client
import socket
import subprocess
import threading
import time


def ask(port, host="127.0.0.1", path="/whoami", timeout=5):
    """The body of one GET over a connection of its own."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().read().decode().strip()
    finally:
        connection.close()


def answer(port, **options):
    """The same, or None where nobody serves just now: for waiting."""
    try:
        return ask(port, **options)
    except (OSError, http.client.HTTPException):
        return None


def who(port, **options):
    """Which instance answered: the first word of "WHO PID"."""
    return ask(port, **options).split()[0]


def who_answers(port, times, **options):
    return collections.Counter(who(port, **options) for _ in range(times))


def refused(port, host="127.0.0.1", timeout=1):
    """Is there nobody to talk to? (refused, unreachable, or no answer to the first packet)"""
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError:
        return True
    return False


class Held:
    """Connections that stay open, each asked who is at its other end."""

    def __init__(self, port, count, host="127.0.0.1", timeout=10):
        self.connections = []
        try:
            for _ in range(count):
                self.connections.append(socket.create_connection((host, port), timeout))
        except OSError:
            self.close()
            raise

    def ask(self, connection):
        connection.sendall(b"GET /whoami HTTP/1.1\r\nHost: x\r\n\r\n")
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.receive(connection)
        head, _, body = data.partition(b"\r\n\r\n")
        length = None
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            if name.lower() == b"transfer-encoding":
                while not body.endswith(b"0\r\n\r\n"):
                    body += self.receive(connection)
                return body.split(b"\r\n")[1].decode().split()[0]
        while len(body) < length:
            body += self.receive(connection)
        return body.decode().split()[0]

    @staticmethod
    def receive(connection):
        data = connection.recv(4096)
        if not data:
            raise ConnectionError("closed by the server")
        return data

    def spread(self):
        """Instance → connections that it holds."""
        return collections.Counter(self.ask(connection) for connection in self.connections)

    def close(self):
        for connection in self.connections:
            connection.close()
        self.connections = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Load:
    """A closed loop: each of `workers` connects, asks, reads the whole answer, and begins anew. Use
    as a context; the counts are final after it. `refused`: nobody accepted the connection; `failed`:
    (time, error) of those that broke later; `answers`: by instance."""

    PAUSE = 0.002  # between requests, so that the load leaves the machine to the servers
    REQUEST = b"GET /whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    def __init__(self, port, workers=8, host="127.0.0.1", timeout=10):
        self.address = (host, port)
        self.timeout = timeout
        self.refused = 0
        self.failed = []
        self.slowest = 0.0
        self.answers = collections.Counter()
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(workers)]

    @property
    def done(self):
        return sum(self.answers.values())

    def work(self):
        while not self.ending.wait(self.PAUSE):
            started = time.monotonic()
            connected = False
            try:
                with socket.create_connection(self.address, self.timeout) as connection:
                    connected = True
                    connection.sendall(self.REQUEST)
                    data = b""
                    while piece := connection.recv(4096):
                        data += piece
                name = self.check(data)
                with self.lock:
                    self.answers[name] += 1
                    self.slowest = max(self.slowest, time.monotonic() - started)
            except ConnectionRefusedError:
                with self.lock:
                    self.refused += 1
            except OSError as error:
                with self.lock:
                    self.failed.append((time.monotonic(), f"connected={connected} {error!r}"))

    def check(self, data):
        """Which instance gave this answer; raises when it is not whole."""
        head, separator, body = data.partition(b"\r\n\r\n")
        if not separator or b" 200 " not in head.split(b"\r\n")[0] or not body:
            raise ConnectionError(f"cut answer: {data[:80]!r}")
        return body.decode().split()[1 if b"chunked" in head.lower() else 0]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join(self.timeout + 1)

    def wait_more(self, count, within=10):
        """Until `count` further requests are answered."""
        goal, deadline = self.done + count, time.monotonic() + within
        while self.done < goal:
            assert time.monotonic() < deadline, f"only {self.done} of {goal} requests were answered"
            time.sleep(0.01)


def ask_udp(port, host="127.0.0.1", message=b"hello", timeout=3, client=None):
    """Sends a datagram and returns the first word of the answer; `client` is a socket to use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    own = client or socket.socket(family, socket.SOCK_DGRAM)
    try:
        own.settimeout(timeout)
        own.sendto(message, (host, port))
        data, sender = own.recvfrom(2048)
        assert sender[:2] == (host, port), f"the answer came from {sender}"
        assert data.endswith(message)
        return data.decode().split()[0]
    finally:
        if client is None:
            own.close()


def redis_pid(port, host="127.0.0.1"):
    with socket.create_connection((host, port), 5) as connection:
        connection.sendall(b"INFO server\r\nQUIT\r\n")
        data = b""
        while piece := connection.recv(4096):
            data += piece
    return int(data.partition(b"process_id:")[2].split()[0])


def memcached_pid(port, host="127.0.0.1"):
    with socket.create_connection((host, port), 5) as connection:
        connection.sendall(b"stats\r\nquit\r\n")
        data = b""
        while piece := connection.recv(4096):
            data += piece
    return int(data.partition(b"STAT pid ")[2].split()[0])


def postgres_instance(port, user, host="127.0.0.1"):
    """The last part of the path of its data directory."""
    done = subprocess.run(["psql", "-h", host, "-p", str(port), "-U", user, "-AtXc",
                           "show data_directory", "postgres"],
                          capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().rpartition("/")[2]
