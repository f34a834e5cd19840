"""Files of a folder: byte by byte, in parts, only when they changed, compressed when they lie there so;
nothing outside of the folder, whatever is asked for; what changes on the disk is seen."""

import gzip
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness import clients, processes
from tls_test import identity

PORT = 18090
both_accounts = pytest.mark.both_accounts

CONFIGURATION = """
    listen 127.0.0.1:18090 http {
        route / -> files ./public;
        route /list/ -> files ./public listing=on;
        route /app/ -> files ./public index=start.html fallback=/app/start.html;
        route /cut/ -> files ./public { rewrite strip=/cut; header response set X-Who files; }
        route /cut/list/ -> files ./public listing=on { rewrite strip=/cut/list; }
    }"""


def ready(cluster):
    processes.wait_for(lambda: not clients.refused(PORT), 5, "the listener")
    cluster.wait(cluster.status, what="the status")


@pytest.fixture
def public(cluster):
    """The folder that is served, with a server in front of it."""
    folder = cluster.folder("public")
    put(cluster, "index.html", "<h1>hello</h1>\n")
    cluster.up(CONFIGURATION)
    ready(cluster)
    return folder


def put(cluster, name, content):
    """A file below the folder, that anybody may read."""
    path = os.path.join(str(cluster.folder("public")), name)
    for depth in range(1, name.count("/") + 1):
        cluster.folder("public/" + "/".join(name.split("/")[:depth]))
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    os.chmod(path, 0o644)
    return path


def ask(path, method="GET", headers=None):
    """The path as it stands, which clients in libraries would tidy up."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def status(path, **options):
    return ask(path, **options)[0]


def fresh():
    """What was seen on the disk is believed for a second."""
    time.sleep(1.1)


@both_accounts
def test_files_and_folders(cluster, public):
    put(cluster, "style.css", "body{}")
    put(cluster, "sub/index.html", "sub")
    put(cluster, "empty.txt", "")
    put(cluster, "app/start.html", "start")
    code, fields, body = ask("/")
    assert (code, body) == (200, b"<h1>hello</h1>\n")
    assert fields["content-type"] == "text/html; charset=utf-8" and fields["accept-ranges"] == "bytes"
    assert ask("/style.css")[1]["content-type"] == "text/css; charset=utf-8"
    assert ask("/style.css?v=7")[2] == b"body{}"
    code, fields, _ = ask("/sub?q=1")
    assert (code, fields["location"]) == (301, "/sub/?q=1")
    assert ask("//sub")[1]["location"] == "/sub/"
    assert ask("/sub/")[2] == b"sub"
    assert ask("/empty.txt")[::2] == (200, b"")
    assert status("/none") == 404 and status("/index.html/") == 404 and status("/index.html/x") == 404
    code, fields, body = ask("/cut/style.css")
    assert (code, fields["x-who"], body) == (200, "files", b"body{}")
    assert ask("/cut/sub")[1]["location"] == "/cut/sub/"
    assert ask("/app/")[2] == b"start" and ask("/app/any/where")[2] == b"start"
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        code, fields, _ = ask("/", method=method)
        assert (code, fields["allow"]) == (405, "GET, HEAD")


@both_accounts
def test_head_says_what_get_would(cluster, public):
    put(cluster, "big.bin", os.urandom(1_000_000))
    for path in ("/", "/big.bin"):
        get, head = ask(path), ask(path, method="HEAD")
        for fields in (get[1], head[1]):
            fields.pop("date")
        assert head == (200, get[1], b"")
    assert status("/none", method="HEAD") == 404


@both_accounts
def test_nothing_leads_out(cluster, public):
    cluster.file("secret", "secret")
    os.symlink("../secret", public / "relative")
    os.symlink("/etc/passwd", public / "absolute")
    os.symlink("/", public / "root")
    os.symlink("..", public / "up")
    os.symlink("index.html", public / "inside")
    os.symlink("/proc/self/cwd", public / "magic")
    put(cluster, ".env", "PASSWORD=x")
    put(cluster, ".git/config", "x")
    put(cluster, ".well-known/security.txt", "mail us")
    os.mkfifo(public / "fifo", 0o644)
    for path in ("/relative", "/absolute", "/root/etc/passwd", "/up/secret", "/magic/secret", "/fifo",
                 "/.env", "/%2eenv", "/.git/config", "/list/../.env", "/..%2fsecret", "/a%2f..%2f..%2fsecret",
                 "/%252e%252e/secret", "/..%5csecret", "/%c0%ae%c0%ae/secret"):
        code, _, body = ask(path)
        assert code == 404 and b"secret" not in body and b"root:" not in body, (path, code)
    for path in ("/../secret", "/%2e%2e/secret", "/.%2E/secret", "/list/../../secret", "/index.html%00.css",
                 "/%00"):
        assert status(path) == 400, path
    assert ask("/inside")[2] == b"<h1>hello</h1>\n"
    assert ask("/.well-known/security.txt")[2] == b"mail us"
    assert status("/" + "a" * 300) == 404 and status("/" + "a/" * 2500) == 404


def test_the_gateways_user_must_be_allowed(cluster, public):
    path = put(cluster, "mine", "x")
    os.chmod(path, 0o600)
    expected = 403 if os.geteuid() == 0 and cluster.account.name == "root" else 200
    assert status("/mine") == expected


@both_accounts
def test_parts_byte_by_byte(cluster, public):
    content = os.urandom(5_000_000)
    put(cluster, "big.bin", content)
    assert ask("/big.bin")[2] == content
    for text, first, last in (("0-0", 0, 0), ("1000000-3999999", 1000000, 3999999),
                              ("-70000", 4930000, 4999999), ("4999999-", 4999999, 4999999),
                              ("65536-65536", 65536, 65536), ("10-99999999", 10, 4999999)):
        code, fields, body = ask("/big.bin", headers={"Range": f"bytes={text}"})
        assert code == 206 and fields["content-range"] == f"bytes {first}-{last}/5000000"
        assert body == content[first:last + 1], text
    code, fields, _ = ask("/big.bin", headers={"Range": "bytes=5000000-"})
    assert (code, fields["content-range"]) == (416, "bytes */5000000")
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request("GET", "/big.bin", headers={"Range": "bytes=5000000-"})
    assert connection.getresponse().reason == "Range Not Satisfiable"
    connection.close()
    assert status("/big.bin", headers={"Range": "bytes=9-1"}) == 200
    assert status("/big.bin", headers={"Range": "bytes=" + ",".join(["0-"] * 20)}) == 200


def parts(fields, body):
    boundary = re.fullmatch("multipart/byteranges; boundary=(\\w+)", fields["content-type"]).group(1)
    pieces = body.split(f"\r\n--{boundary}".encode())
    assert pieces[0] == b"" and pieces[-1] == b"--\r\n"
    found = []
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        place = re.search(rb"Content-Range: bytes (\d+)-(\d+)/(\d+)", head)
        assert b"\r\nContent-Type: application/octet-stream" in head
        found.append((int(place.group(1)), int(place.group(2)), content))
    return found


@both_accounts
def test_several_parts_at_once(cluster, public):
    content = os.urandom(3_000_000)
    put(cluster, "big.bin", content)
    put(cluster, "small.bin", content[:100])
    code, fields, body = ask("/big.bin", headers={"Range": "bytes=2000000-2999999, 5-9,-1,9999999-"})
    assert code == 206 and int(fields["content-length"]) == len(body)
    found = parts(fields, body)
    assert [part[:2] for part in found] == [(2000000, 2999999), (5, 9), (2999999, 2999999)]
    assert all(part == content[first:last + 1] for first, last, part in found)
    _, fields, body = ask("/small.bin", headers={"Range": "bytes=0-1,50-"})
    assert parts(fields, body) == [(0, 1, content[:2]), (50, 99, content[50:100])]


@both_accounts
def test_only_when_it_changed(cluster, public):
    put(cluster, "a.bin", "0123456789")
    _, fields, _ = ask("/a.bin")
    etag, date = fields["etag"], fields["last-modified"]
    for headers in ({"If-None-Match": etag}, {"If-None-Match": f'"x", W/{etag}'}, {"If-None-Match": "*"},
                    {"If-Modified-Since": date}):
        code, answered, body = ask("/a.bin", headers=headers)
        assert (code, body, answered["etag"]) == (304, b"", etag), headers
        assert "content-type" not in answered
    before = "Sun, 06 Nov 1994 08:49:37 GMT"
    assert status("/a.bin", headers={"If-None-Match": '"x"', "If-Modified-Since": date}) == 200
    assert status("/a.bin", headers={"If-Modified-Since": before}) == 200
    assert status("/a.bin", headers={"If-Match": '"x"'}) == 412
    assert status("/a.bin", headers={"If-Match": etag}) == 200
    assert status("/a.bin", headers={"If-Unmodified-Since": before}) == 412
    part = {"Range": "bytes=2-3"}
    assert ask("/a.bin", headers={**part, "If-Range": etag})[::2] == (206, b"23")
    assert ask("/a.bin", headers={**part, "If-Range": date})[::2] == (206, b"23")
    assert ask("/a.bin", headers={**part, "If-Range": '"x"'})[::2] == (200, b"0123456789")
    assert ask("/a.bin", headers={**part, "If-Range": before})[::2] == (200, b"0123456789")


@both_accounts
def test_compressed_variants(cluster, public):
    put(cluster, "a.js", "let a;")
    plain = ask("/a.js", headers={"Accept-Encoding": "gzip, br"})
    assert "vary" not in plain[1] and plain[2] == b"let a;"
    put(cluster, "a.js.gz", gzip.compress(b"let a;"))
    put(cluster, "a.js.br", "brotli")
    put(cluster, "a.js.zst", "zstd")
    fresh()
    for accept, encoding, body in (("gzip", "gzip", gzip.compress(b"let a;")[10:]), ("gzip, br", "br", b"brotli"),
                                   ("br;q=0.1, zstd", "zstd", b"zstd"), ("br;q=0, gzip;q=0", None, b"let a;"),
                                   ("deflate", None, b"let a;"), ("", None, b"let a;")):
        code, fields, got = ask("/a.js", headers={"Accept-Encoding": accept})
        assert code == 200 and fields.get("content-encoding") == encoding and got.endswith(body), accept
        assert fields["vary"] == "Accept-Encoding"
        assert fields["content-type"] == "text/javascript; charset=utf-8"
    one, other = (ask("/a.js", headers={"Accept-Encoding": way})[1]["etag"] for way in ("br", "gzip"))
    assert one != other
    assert status("/a.js", headers={"Accept-Encoding": "br", "If-None-Match": one}) == 304
    assert status("/a.js", headers={"Accept-Encoding": "br", "If-None-Match": other}) == 200
    put(cluster, "a.js", "let b;")  # the variants are older now
    fresh()
    code, fields, body = ask("/a.js", headers={"Accept-Encoding": "gzip, br"})
    assert body == b"let b;" and "content-encoding" not in fields


@both_accounts
def test_listing_only_where_it_is_on(cluster, public):
    put(cluster, "list/<script>&\"'.txt", "x")
    put(cluster, "list/ä b#?%.txt", "umlaut")
    put(cluster, "list/.hidden", "x")
    put(cluster, "list/deep/file", "x" * 2048)
    put(cluster, "off/file", "x")
    assert status("/off/") == 404 and status("/off") == 301
    code, fields, page = ask("/list/")
    page = page.decode()
    assert code == 200 and fields["content-type"] == "text/html; charset=utf-8"
    assert "<script>" not in page and "&#60;script&#62;&#38;&#34;&#39;.txt" in page
    assert ".hidden" not in page and page.index("deep/") < page.index("script")
    links = re.findall('href="\\./([^"]*)"', page)
    assert len(links) == 3
    assert ask("/list/" + [link for link in links if "23" in link][0])[2] == b"umlaut"
    assert "2.0 KB" in ask("/list/deep/")[2].decode()
    page = ask("/cut/list/off/")[2].decode()
    assert "<title>/cut/list/off</title>" in page and "<h1>/cut/list/off</h1>" in page and 'href="../"' in page
    os.unlink(cluster.folder("public") / "index.html")
    fresh()
    page = ask("/cut/list/")[2].decode()
    assert "<title>/cut/list</title>" in page and 'href="../"' not in page
    assert ask("/list/", method="HEAD")[::2] == (200, b"")
    assert status("/list/none/") == 404


@both_accounts
def test_changes_are_seen(cluster, public):
    path = put(cluster, "a.txt", "one")
    assert ask("/a.txt")[2] == b"one"
    put(cluster, "a.txt", "three")
    fresh()
    assert ask("/a.txt")[2] == b"three"
    os.replace(put(cluster, "b.txt", "four!"), path)
    fresh()
    assert ask("/a.txt")[2] == b"four!"
    os.unlink(path)
    fresh()
    assert status("/a.txt") == 404
    put(cluster, "a.txt", "back")
    fresh()
    assert ask("/a.txt")[2] == b"back"
    shutil.rmtree(public)
    fresh()
    assert status("/a.txt") == 404 and status("/") == 404


def segments(client):
    """Those with data that have come: tcpi_data_segs_in of struct tcp_info (linux/tcp.h)."""
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int.from_bytes(info[152:156], "little")


@both_accounts
def test_head_and_first_bytes_of_a_large_file_leave_together(cluster, public):
    content = os.urandom(40_000)  # with its head less than loopback's MSS
    put(cluster, "large.bin", content)
    with socket.create_connection(("127.0.0.1", PORT), 10) as client:
        for turn in range(4):
            client.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            got = b""
            while len(got.partition(b"\r\n\r\n")[2]) < len(content):
                piece = client.recv(1 << 20)
                assert piece
                got += piece
            assert got.partition(b"\r\n\r\n")[2] == content
            if turn == 0:  # in halves, while the window is that of the beginning
                before = segments(client)
            assert segments(client) == before + turn


@both_accounts
def test_a_replaced_file_is_sent_to_its_end(cluster, public):
    content = os.urandom(30_000_000)
    path = put(cluster, "big.bin", content)
    with socket.create_connection(("127.0.0.1", PORT), 10) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(b"GET /big.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = client.recv(1000)
        os.replace(put(cluster, "other.bin", "other"), path)
        fresh()
        assert ask("/big.bin")[2] == b"other"
        while piece := client.recv(1 << 20):
            got += piece
    assert got.partition(b"\r\n\r\n")[2] == content


@both_accounts
def test_a_file_that_is_cut_breaks_off(cluster, public):
    path = put(cluster, "big.bin", bytes(30_000_000))
    with socket.create_connection(("127.0.0.1", PORT), 10) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        total = len(client.recv(1000))
        os.truncate(path, 1000)
        try:
            while piece := client.recv(1 << 20):
                total += len(piece)
        except ConnectionResetError:
            pass
    assert total < 30_000_000 and status("/") == 200


def test_over_tls_and_by_old_clients(cluster):
    content = os.urandom(3_000_000)
    put(cluster, "big.bin", content)
    identity(cluster.folder("tls"), "shop")
    cluster.up("listen 127.0.0.1:18090 http tls { certificate tls/shop.crt key=tls/shop.key;"
               " route / -> files ./public; }  listen 127.0.0.1:18091 http { route / -> files ./public; }")
    ready(cluster)
    url = f"https://127.0.0.1:{PORT}/big.bin"
    curl = ["curl", "-sk", "--max-time", "20"]
    assert subprocess.run([*curl, url], capture_output=True, check=True).stdout == content
    assert subprocess.run([*curl, "-r", "1000000-2999998", url], capture_output=True,
                          check=True).stdout == content[1000000:2999999]
    with socket.create_connection(("127.0.0.1", 18091), 10) as client:
        client.sendall(b"GET /big.bin HTTP/1.0\r\n\r\n")
        got = b""
        while piece := client.recv(1 << 20):
            got += piece
    assert got.partition(b"\r\n\r\n")[2] == content


@both_accounts
def test_readers_that_leave_leave_nothing(cluster, public):
    put(cluster, "big.bin", bytes(10_000_000))
    gateway = cluster.status()["gateway_pid"]
    assert len(ask("/big.bin")[2]) == 10_000_000

    def descriptors():
        return len(os.listdir(f"/proc/{gateway}/fd"))

    before = descriptors()
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", PORT), 10) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            client.recv(1000)
    cluster.wait(lambda: descriptors() <= before + 70, what="descriptors to be closed")  # some pipes are kept
    assert len(ask("/big.bin")[2]) == 10_000_000


def test_slow_readers_of_large_files(cluster):
    """Over both protocols: who reads slowly is served, who reads nothing is cut, and nobody costs memory."""
    path = put(cluster, "huge.bin", "")
    os.truncate(path, 2_000_000_000)
    cluster.up("gateway threads=1; listen 127.0.0.1:18090 http { timeout send=2s; route / -> files ./public; }")
    ready(cluster)
    gateway = cluster.status()["gateway_pid"]

    def rss():
        return next(int(line.split()[1]) for line in open(f"/proc/{gateway}/status") if line.startswith("VmRSS"))

    before, stalled, curls = rss(), [], []
    for _ in range(40):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", PORT))
        client.sendall(b"GET /huge.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        stalled.append(client)
    for _ in range(10):
        curls.append(subprocess.Popen(["curl", "-s", "--http2-prior-knowledge", "--limit-rate", "50k", "--max-time", "5",
                                       f"http://127.0.0.1:{PORT}/huge.bin", "-o", "/dev/null", "-w", "%{size_download}"],
                                      stdout=subprocess.PIPE))
    slow, got = stalled.pop(), 0
    until = time.monotonic() + 4
    while time.monotonic() < until:  # a little twice in a second
        got += len(slow.recv(100_000))
        time.sleep(0.4)
    assert rss() < before + 20_000  # kB
    assert got > 0 and len(slow.recv(1000)) > 0
    slow.close()
    for client in stalled:
        total = 0
        try:
            while piece := client.recv(1 << 20):
                total += len(piece)
        except ConnectionResetError:
            pass
        assert total < 2_000_000_000
        client.close()
    assert all(int(curl.communicate(timeout=20)[0]) > 50_000 for curl in curls)
    assert status("/") == 404


@both_accounts
def test_a_reload_brings_folders(cluster, public):
    other = cluster.folder("other")
    (other / "x").write_text("other")
    os.chmod(other / "x", 0o644)
    failed = []
    over = threading.Event()

    def load():
        while not over.is_set():
            try:
                if status("/") != 200:
                    failed.append("status")
            except OSError as error:
                failed.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    cluster.configure(CONFIGURATION.replace("route / ->", "route =/x -> files other; route / ->"))
    cluster.command("reload")
    cluster.wait(lambda: ask("/x")[::2] == (200, b"other"), what="the other folder")
    cluster.configure(CONFIGURATION.replace("files ./public;", "files ./nowhere;"))
    done = cluster.command("reload", check=False)
    assert done.returncode != 0 and "nowhere" in done.stderr and "nothing was changed" in done.stderr
    assert ask("/x")[2] == b"other"
    over.set()
    thread.join()
    assert not failed, failed[:3]


@both_accounts
def test_a_release_by_a_link_is_taken_by_a_reload(cluster):
    for release in ("one", "two"):
        folder = cluster.folder(release)
        (folder / "index.html").write_text(release)
        os.chmod(folder / "index.html", 0o644)
    link = cluster.folder("one").parent / "current"
    os.symlink("one", link)
    cluster.up("listen 127.0.0.1:18090 http { route / -> files current; }")
    ready(cluster)
    assert ask("/")[2] == b"one"
    os.unlink(link)
    os.symlink("two", link)
    cluster.command("reload")
    cluster.wait(lambda: ask("/")[2] == b"two", what="the new release")


def opener_of(gateway):
    found = subprocess.run(["pgrep", "-P", str(gateway), "enginx-opener"], capture_output=True, text=True)
    return int(found.stdout)


@both_accounts
def test_crashes_of_the_gateway_and_its_opener(cluster, public):
    gateway = cluster.status()["gateway_pid"]
    os.kill(opener_of(gateway), signal.SIGKILL)
    cluster.wait(lambda: cluster.status()["gateway_pid"] not in (0, gateway), what="another gateway")
    cluster.wait(lambda: not clients.refused(PORT), what="the listener")
    assert ask("/")[0] == 200
    gateway = cluster.status()["gateway_pid"]
    opener = opener_of(gateway)
    os.kill(gateway, signal.SIGKILL)
    assert ask("/")[0] == 200
    cluster.wait(lambda: not os.path.exists(f"/proc/{opener}") or
                 open(f"/proc/{opener}/stat").read().split()[2] == "Z", what="the old opener's end")


@both_accounts
def test_a_new_supervisor_opens_them_again(cluster, public):
    os.kill(cluster.supervisor(), signal.SIGKILL)
    assert ask("/")[0] == 200
    cluster.up(CONFIGURATION)
    cluster.wait(lambda: (cluster.status() or {}).get("generation") == 2, what="the new supervisor")
    put(cluster, "late.txt", "late")
    cluster.wait(lambda: ask("/late.txt")[::2] == (200, b"late"), what="files under the new one")
