"""The cache under load and failures: one fetch for a hundred who ask at once, answers while the service
is away, a bound that holds, and what a reload, a purge and a crash leave of it."""

import gzip
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness import clients
from harness.origins import Origin, get, receive_until, request_read, resident

PORT, METRICS = 8080, 9900
both_accounts = pytest.mark.both_accounts
FRESH = b"Cache-Control: max-age=300"


class Shop:
    """An origin that counts what it is asked, by path, and answers as the test says. Each answer has a
    number of its own."""

    def __init__(self):
        self.asked, self.fields, self.body = {}, [FRESH], None
        self.delay, self.status, self.broken = 0, b"200 OK", False
        self.lock = threading.Lock()
        self.origin = Origin(self.serve)

    def serve(self, connection):
        while True:
            head, _ = request_read(connection)
            if not head or self.broken:
                return
            path = head.split(b" ", 2)[1].decode()
            with self.lock:
                self.asked[path] = self.asked.get(path, 0) + 1
                number = sum(self.asked.values())
            time.sleep(self.delay)
            if self.broken:
                return
            body = self.body or b"%d" % number
            lines = [b"HTTP/1.1 " + self.status, b"Content-Length: %d" % len(body), *self.fields]
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    def count(self, path):
        return self.asked.get(path, 0)


@pytest.fixture
def shop():
    shop = Shop()
    yield shop
    shop.origin.close()


def start(cluster, shop, options="", store="memory=16m", more="", log=""):
    cluster.up(configuration(shop, options, store, more, log))
    cluster.wait(lambda: cluster.status() and not clients.refused(PORT), 10, "the gateway to listen")


def configuration(shop, options="", store="memory=16m", more="", log=""):
    return f"""
        gateway threads=2;
        metrics 127.0.0.1:{METRICS};
        cache pages {store};
        service shop {{ at {shop.origin.text}; eject failures=0; retry tries=0; }}
        listen {PORT} http {{ {log} cache pages {options}; route / -> shop; {more} }}"""


def figures():
    page = get(METRICS, "/metrics").body.decode()
    return {match[1]: float(match[2])
            for match in re.finditer(r'^enginx_cache_([^{]+\{cache="pages"[^}]*\}) (\S+)$', page, re.M)}


def figure(name, result=None):
    labels = f'cache="pages",result="{result}"' if result else 'cache="pages"'
    return figures()[f"{name}{{{labels}}}"]


def pages(gateway):
    """Bytes of memory in the files that have no name, in which large answers lie."""
    found = 0
    for entry in os.scandir(f"/proc/{gateway}/fd"):
        try:
            if "memfd:enginx-cache" in os.readlink(entry.path):
                found += os.stat(entry.path).st_blocks * 512
        except FileNotFoundError:  # closed meanwhile
            pass
    return found


def at_once(count, path, results):
    """So many clients that ask for one thing at the same time."""
    barrier = threading.Barrier(count)

    def one():
        barrier.wait()
        try:
            answer = get(PORT, path, timeout=20)
            results.append((answer.status, answer.body))
        except OSError as error:
            results.append((0, str(error).encode()))

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_a_hundred_who_ask_at_once_are_one_request(cluster, shop):
    start(cluster, shop, "lock=20s")
    shop.delay = 0.5
    results = []
    for thread in at_once(100, "/one", results):
        thread.join()
    assert results == [(200, b"1")] * 100
    assert shop.count("/one") == 1
    assert figure("coalesced_total") >= 90
    assert figure("stored_total") == 1
    # Those whose answer is for nobody else do not wait for each other, once that is known.
    shop.fields = [b"Cache-Control: private"]
    results.clear()
    began = time.monotonic()
    for thread in at_once(20, "/own", results):
        thread.join()
    assert [status for status, _ in results] == [200] * 20
    assert len({body for _, body in results}) == 20
    assert time.monotonic() - began < 5


def test_who_waits_long_asks_himself(cluster, shop):
    start(cluster, shop, "lock=300ms")
    shop.delay = 3
    results = []
    first = at_once(1, "/slow", results)
    cluster.wait(lambda: shop.count("/slow") == 1, 5, "the first to ask")
    second = at_once(1, "/slow", results)
    cluster.wait(lambda: shop.count("/slow") == 2, 2, "the second to ask, too")
    for thread in first + second:
        thread.join()
    assert [status for status, _ in results] == [200, 200]


def test_when_the_first_goes_away_the_next_one_leads(cluster, shop):
    start(cluster, shop, "lock=20s")
    shop.delay = 1
    first = socket.create_connection(("127.0.0.1", PORT))
    first.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
    cluster.wait(lambda: shop.count("/a") == 1, 5, "the first to ask")
    results = []
    threads = at_once(10, "/a", results)
    time.sleep(0.2)
    first.close()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1 and results[0][0] == 200
    assert shop.count("/a") == 2


def test_stale_while_the_service_is_away(cluster, shop):
    start(cluster, shop, "stale=1h", log="access-log text fields=cache,status,uri;")
    shop.fields = [b"Cache-Control: max-age=1"]
    assert get(PORT, "/a").body == b"1"
    time.sleep(1.1)
    shop.origin.close()
    shop.broken = True
    answer = get(PORT, "/a")
    assert (answer.status, answer.body) == (200, b"1")
    assert get(PORT, "/never").status in (502, 503)
    assert figure("requests_total", "stale") == 1
    cluster.wait(lambda: "stale 200" in cluster.command("logs", "access").stdout, 5, "the access log")


def test_purge_and_reload(cluster, shop):
    start(cluster, shop, "purge=127.0.0.1")
    shop.fields = [FRESH, b"Cache-Tag: red, big"]
    for path in ("/x/1", "/x/2"):
        get(PORT, path)
    shop.fields = [FRESH, b"Surrogate-Key: blue big"]
    get(PORT, "/y/1")
    assert get(PORT, "/", "PURGE", **{"Cache-Tag": "red"}).body == b"purged: 2\n"
    assert get(PORT, "/y/1").body == b"3"
    assert get(PORT, "/x/1").body == b"4"
    get(PORT, "/x/2")
    assert get(PORT, "/x/*", "PURGE").body == b"purged: 2\n"
    assert get(PORT, "/x/*", "PURGE").status == 404
    assert get(PORT, "/x/1").body == b"6"
    # A reload keeps what is stored, also when the bounds change.
    cluster.configure(configuration(shop, "", "memory=8m", "route /new -> shop;"))
    cluster.command("reload")
    cluster.wait(lambda: figure("bytes_max") == 8 << 20, 5, "the new bound")
    assert get(PORT, "/y/1").body == b"3"
    assert get(PORT, "/y/1", "PURGE").headers["Cache-Status"] is None  # it is the service's now
    # A cache that is not there any more is empty when it comes back.
    cluster.configure(configuration(shop).replace("cache pages ;", "").replace("cache pages memory=16m;", ""))
    cluster.command("reload")
    assert "Cache-Status" not in get(PORT, "/y/1").headers
    cluster.configure(configuration(shop))
    cluster.command("reload")
    cluster.wait(lambda: "Cache-Status" in get(PORT, "/y/1").headers, 5, "the cache")
    assert get(PORT, "/y/1").body not in (b"3", b"")


@both_accounts
def test_the_purge_command(cluster, shop):
    start(cluster, shop)

    def fill():
        shop.fields = [FRESH, b"Cache-Tag: red"]
        before = {path: get(PORT, path).body for path in ("/a", "/b/1", "/b/2")}
        shop.fields = [FRESH]
        return before

    def purge(*what):
        return cluster.command("purge", *what).stdout

    def gone(before):
        return {path for path, body in before.items() if get(PORT, path).body != body}

    at = f"127.0.0.1:{PORT}"
    before = fill()
    assert purge(f"{at}/a") == "purged: 1\n"
    assert gone(before) == {"/a"}
    before = fill()
    assert purge(f"{at}/b/*") == "purged: 2\n"
    assert gone(before) == {"/b/1", "/b/2"}
    assert purge("all", "--cache", "pages") == "purged: 3\n"
    before = fill()
    assert purge("tag=blue,red") == "purged: 3\n"
    assert purge("tag=red") == "purged: 0\n"
    assert gone(before) == set(before)
    for wrong in (["nothing"], [], ["all", "--cache", "other"]):
        assert cluster.command("purge", *wrong, check=False).returncode != 0


def test_what_was_fetched_before_a_purge_is_not_stored_after_it(cluster, shop):
    start(cluster, shop, "purge=127.0.0.1")
    for number, purge in enumerate((("/a",), ("/*",), ("/", "Cache-Tag"))):
        path, results = ("/a", "/b", "/c")[number], []
        shop.delay, asked = 1, shop.count(path)
        threads = at_once(1, path, results)
        cluster.wait(lambda: shop.count(path) == asked + 1, 5, "the service to be asked")
        get(PORT, purge[0], "PURGE", **({purge[1]: "red"} if purge[1:] else {}))
        for thread in threads:
            thread.join()
        shop.delay = 0
        assert get(PORT, path).body != results[0][1]


def test_memory_stays_bounded_and_slow_clients_get_all(cluster, shop):
    """A flood of large answers, while clients that take nothing hold some of them."""
    start(cluster, shop, store="memory=16m object=4m")
    gateway = cluster.status()["gateway_pid"]
    shop.body = os.urandom(1 << 20)
    for number in range(4):
        assert get(PORT, f"/warm{number}").body == shop.body
    held = []
    for number in range(4):
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(20)
        slow.connect(("127.0.0.1", PORT))
        slow.sendall(b"GET /warm%d HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n" % number)
        held.append((slow, receive_until(slow, b"\r\n\r\n", 1)))
    before, most, paged = resident(gateway), 0, 0
    for number in range(150):
        assert get(PORT, f"/flood{number}").status == 200
        if number % 10 == 0:
            most = max(most, resident(gateway))
            paged = max(paged, pages(gateway))
    assert figure("bytes") <= 16 << 20
    assert 8 << 20 < paged <= 16 << 20
    assert figure("evicted_total") > 100
    assert most < before + (12 << 20), most
    for slow, data in held:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        while not data.endswith(shop.body):
            piece = slow.recv(1 << 20)
            assert piece, len(data)
            data += piece
        slow.close()
    assert shop.count("/warm0") == 1


def unread(target):
    """A client that has asked, and reads nothing; its socket takes all of 100 kB."""
    client = socket.socket()
    client.settimeout(20)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
    client.connect(("127.0.0.1", PORT))
    client.sendall(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n" % target)
    return client


def test_what_was_sent_is_not_changed_by_what_comes_after(cluster, shop):
    """The kernel has the pages of a large answer, and not a copy, until the client has read it."""
    start(cluster, shop, store="memory=1m object=200k")
    gateway = cluster.status()["gateway_pid"]
    old = shop.body = os.urandom(100_000)
    assert get(PORT, "/a").body == old
    clients = [unread(b"/a") for _ in range(3)]
    for client in clients:  # all is in the socket when its beginning is
        cluster.wait(lambda: len(client.recv(1 << 20, socket.MSG_PEEK)) > 200, 10, "the answer's beginning")
    cluster.wait(lambda: figure("requests_total", "hit") >= 3, 10, "the answers")
    cluster.command("purge", "all")
    cluster.wait(lambda: pages(gateway) == 0, 10, "its memory to be free")
    shop.body = bytes(100_000)
    for number in range(40):
        assert get(PORT, f"/{number}").body == shop.body
    for client in clients:
        head = receive_until(client, b"\r\n\r\n")
        got = head.partition(b"\r\n\r\n")[2]
        while len(got) < len(old):
            got += client.recv(1 << 20)
        assert got == old
        client.close()


def test_parts_of_large_answers(cluster, shop):
    start(cluster, shop, store="memory=32m object=10m")
    shop.body = os.urandom(9_000_000)  # more than is sent in one turn
    shop.fields = [FRESH, b'ETag: "v1"']
    for _ in range(3):
        assert get(PORT, "/a").body == shop.body
    for first, last in ((0, 39_999), (4095, 4096), (1_000_000, 1_040_000), (100, 8_999_999), (8_999_000, 8_999_999)):
        part = get(PORT, "/a", **{"Range": f"bytes={first}-{last}"})
        assert part.status == 206 and part.body == shop.body[first:last + 1]
    assert shop.count("/a") == 1


@both_accounts
def test_large_answers_after_a_reload(cluster, shop):
    """A cache that a reload brings is made by a gateway that is confined already."""
    cluster.up(configuration(shop))
    cluster.wait(lambda: cluster.status() and not clients.refused(PORT), 10, "the gateway to listen")
    cluster.configure(configuration(shop).replace("cache pages", "cache others"))
    cluster.command("reload")
    cluster.wait(lambda: b'cache="others"' in get(METRICS, "/metrics").body, 10, "the other cache")
    shop.body = os.urandom(100_000)
    gateway = cluster.status()["gateway_pid"]
    cluster.wait(lambda: get(PORT, "/a").headers.get("Cache-Status", "").startswith("enginx; hit"), 10, "a hit")
    assert get(PORT, "/a").body == shop.body
    assert pages(gateway) >= 100_000


def test_a_crash_of_the_gateway_loses_memory_only(cluster, shop):
    start(cluster, shop)
    assert get(PORT, "/a").body == b"1"
    pid = cluster.status()["gateway_pid"]
    os.kill(pid, signal.SIGKILL)
    assert get(PORT, "/a").body == b"2"
    assert get(PORT, "/a").body == b"2"


# ---- on disk ----


def disk(cluster, size="16m"):
    return f"memory=2m object=1m disk={cluster.folder('cache')} size={size}"


def disk_file(cluster):
    return cluster.folder("cache") / f"{cluster.name}-pages.cache"


def written(cluster, count):
    cluster.wait(lambda: figure("disk_writes_total") >= count, 10, "the disk")


@both_accounts
def test_what_is_on_disk_outlives_a_crash_and_a_restart(cluster, shop):
    start(cluster, shop, store=disk(cluster))
    cluster.wait(lambda: "cache-disk " in cluster.command("logs", "enginx").stdout, 10, "the disk to be read")
    shop.body = os.urandom(300000)
    for number in range(20):  # more than memory has room for
        assert get(PORT, f"/{number}").body == shop.body
    written(cluster, 15)
    assert figure("evicted_total") > 5
    hits = sum(get(PORT, f"/{number}").headers["Cache-Status"].startswith("enginx; hit") for number in range(20))
    assert hits >= 15
    pid = cluster.status()["gateway_pid"]
    os.kill(pid, signal.SIGKILL)
    cluster.wait(lambda: cluster.status()["gateway_pid"] not in (0, pid), 5, "another gateway")
    cluster.wait(lambda: figure("disk_objects") >= 15, 10, "the disk to be read")
    answers = [get(PORT, f"/{number}") for number in range(20)]
    assert all(answer.body == shop.body for answer in answers)
    assert sum(answer.headers["Cache-Status"].startswith("enginx; hit") for answer in answers) >= 15
    cluster.command("down")
    cluster.process.wait(20)
    start(cluster, shop, store=disk(cluster))
    cluster.wait(lambda: figure("disk_objects") >= 15, 10, "the disk to be read")
    before = sum(shop.asked.values())
    assert all(get(PORT, f"/{number}").body == shop.body for number in range(20))
    assert sum(shop.asked.values()) - before <= 5


def test_a_full_disk_is_done_without(cluster, shop):
    folder = cluster.folder("cache")
    assert subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder]).returncode == 0
    try:
        start(cluster, shop, store=disk(cluster))
        cluster.wait(lambda: "No space left" in cluster.command("logs", "enginx").stdout, 10, "to be told")
        assert get(PORT, "/a").body == b"1"
        assert get(PORT, "/a").body == b"1"
        cluster.command("down")
        cluster.process.wait(20)
    finally:
        subprocess.run(["umount", "-l", folder])


def test_a_disk_that_is_gone_is_done_without(cluster, shop):
    """The file is cut behind its back, as reads of a dead disk fail: the service is asked, and it is told."""
    start(cluster, shop, store=disk(cluster))
    cluster.wait(lambda: "cache-disk " in cluster.command("logs", "enginx").stdout, 10, "the disk to be read")
    shop.body = os.urandom(300000)
    for number in range(20):
        get(PORT, f"/{number}")
    cluster.wait(lambda: figure("disk_writes_total") + figure("disk_skipped_total") >= 20, 10, "the disk")
    assert figure("disk_writes_total") >= 15
    os.truncate(disk_file(cluster), 0)
    for number in range(20):
        assert get(PORT, f"/{number}").body == shop.body
    assert figure("disk_failures_total") > 0
    assert "cache-disk-failed" in cluster.command("logs", "enginx").stdout


# ---- with what else a route may have ----


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", "--max-time", "20", *arguments], capture_output=True, check=True)
    return done.stdout


def test_http2_and_compression_over_it(cluster, shop):
    """What is kept is kept once: plain, whatever the client speaks and takes."""
    start(cluster, shop, more="compress gzip;")
    shop.body = b"0123456789abcdef" * 40000
    shop.fields = [FRESH, b"Content-Type: text/plain", b'ETag: "v1"']
    url = f"http://127.0.0.1:{PORT}/page"
    assert curl("--http2-prior-knowledge", url) == shop.body
    assert curl("--http2-prior-knowledge", url) == shop.body
    packed = curl("-H", "Accept-Encoding: gzip", url)
    assert len(packed) < len(shop.body) / 10 and gzip.decompress(packed) == shop.body
    assert curl("--compressed", "--http2-prior-knowledge", url) == shop.body
    assert get(PORT, "/page", **{"Range": "bytes=16-31"}).body == b"0123456789abcdef"
    assert shop.count("/page") == 1
    streams = ["--parallel", "--parallel-immediate", "--http2-prior-knowledge"]
    many = curl(*streams, *[f"{url}?{number % 3}" for number in range(30)])
    assert len(many) == 30 * len(shop.body)
    assert sum(shop.asked.values()) == 4


def test_guards_come_before_it(cluster, shop):
    """Who may not have it gets nothing of what others had."""
    allowed = [('X-Key', 'a')]
    start(cluster, shop, more='route /secret -> shop { deny all; } route /x header="X-Key: a" -> shop;')
    get(PORT, "/a")
    assert get(PORT, "/a").headers["Cache-Status"].startswith("enginx; hit")
    assert get(PORT, "/secret").status == 403
    # A route that a header chose has keys of its own.
    first = get(PORT, "/x", **dict(allowed)).body
    assert get(PORT, "/x").body != first
    assert get(PORT, "/x", **dict(allowed)).body == first
