"""The topologies in examples/, and what visitors of a site do: ask again and again over connections
that they keep, follow a stream of events."""

import collections
import contextlib
import http.client
import os
import shutil
import signal
import threading
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def start(cluster, name):
    """Starts a copy of the example, so that a test may change its files; its folder."""
    folder = cluster.folder("example") / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    cluster.start("up", folder / "enginx.conf")
    return folder


def change(path, old, new):
    """Replaces a text that stands in the file."""
    text = path.read_text()
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new))


class Visitors:
    """A closed loop of `count` visitors, each with a connection of its own that is kept. Use as a
    context. `met`: how often which first word was answered; `cut`: answers that broke off behind
    their heads; `failed`: everything else that is not a whole answer with 200, in words."""

    PAUSE = 0.005  # between requests, so that the load leaves the machine to the servers

    def __init__(self, port, path, count=4, method="GET", timeout=20):
        self.port, self.path, self.method, self.timeout = port, path, method, timeout
        self.met, self.cut, self.failed = collections.Counter(), 0, []
        self.asked = {}  # thread → when it began to wait
        self.lock, self.ending = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.visit, daemon=True) for _ in range(count)]

    def visit(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        while not self.ending.wait(self.PAUSE):
            self.asked[threading.get_ident()] = time.monotonic()
            try:
                connection.request(self.method, self.path, body=b"x" if self.method == "POST" else None)
                answer = connection.getresponse()
                body = answer.read().decode(errors="replace")
                what = None if answer.status == 200 else f"{answer.status} {body[:200]}"
            except http.client.IncompleteRead:
                what = "cut"
                connection.close()
            except (OSError, http.client.HTTPException) as error:
                what = repr(error)
                connection.close()
            self.asked.pop(threading.get_ident())
            with self.lock:
                if what == "cut":
                    self.cut += 1
                elif what:
                    self.failed.append(what)
                else:
                    self.met[body.split()[0]] += 1
        connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join(self.timeout + 1)

    def meet(self, cluster, *names, within=15):
        """Until each of these has answered once more."""
        with self.lock:
            before = collections.Counter(self.met)
        cluster.wait(lambda: all(self.met[name] > before[name] for name in names), within,
                     f"answers of {names}; failed: {self.failed[:3]}")

    def more(self, cluster, count, within=15):
        """Until so many further requests are answered."""
        goal = self.met.total() + count
        cluster.wait(lambda: self.met.total() >= goal, within,
                     f"{goal} answers, there are {self.met.total()}; failed: {self.failed[:3]}")


def kill_busy(cluster, visitors, *pids):
    """Kills these processes of one instance while they have a request of one of the visitors: they are
    stopped first, until somebody waits in vain."""
    def somebody_waits():
        began = [at for one in visitors for at in list(one.asked.values())]
        return began and min(began) < time.monotonic() - 0.3

    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    cluster.wait(somebody_waits, 10, "a request that is not answered")
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # enginx ends what a dead master leaves
            os.kill(pid, signal.SIGKILL)


class Events:
    """A stream of server-sent events (text/event-stream), followed until it is closed."""

    def __init__(self, port, path, timeout=15):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self.connection.request("GET", path)
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.headers["Content-Type"].startswith("text/event-stream")

    def next(self):
        """The data of the next event; what the server says as a comment is passed over."""
        data = []
        while line := self.answer.readline():
            line = line.decode().rstrip("\n")
            if line.startswith("data: "):
                data.append(line[6:])
            elif not line and data:
                return "\n".join(data)
        raise EOFError("the stream has ended")

    def close(self):
        with contextlib.suppress(OSError):
            self.answer.close()
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
