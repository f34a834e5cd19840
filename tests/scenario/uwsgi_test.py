"""uwsgi and SCGI: to the real uWSGI over both, and byte by byte what is sent; bodies, paths, errors,
and instances that are killed under load."""

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import time

import pytest

from harness import clients, processes
from harness.clients import Load
from harness.origins import Origin

PORT = 18130
UWSGI = shutil.which("uwsgi-core") or shutil.which("uwsgi")
real = pytest.mark.skipif(UWSGI is None, reason="uWSGI is not installed")

APPLICATION = '''
import hashlib, json, os, time

def application(variables, start):
    path = variables["PATH_INFO"]
    if path == "/upload":
        digest, length = hashlib.sha256(), 0
        while some := variables["wsgi.input"].read(65536):
            digest.update(some)
            length += len(some)
        body = f"{length} {digest.hexdigest()}".encode()
    elif path == "/whoami":
        body = f"{os.environ.get('WHO', '-')} {os.getpid()}\\n".encode()
    elif path == "/teapot":
        start("418 Short and stout", [("X-Kind", "pot"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return [b"short"]
    elif path == "/moved":
        start("302 Found", [("Location", "/elsewhere")])
        return []
    elif path == "/parts":
        start("200 OK", [])
        def parts():
            yield b"one"
            time.sleep(0.7)
            yield b"two"
        return parts()
    elif path == "/large":
        start("200 OK", [])
        return (b"0123456789abcdef" * 4096 for _ in range(160))
    elif path == "/die":
        os._exit(1)
    elif path == "/cut":
        def cut():
            yield b"begun"
            os._exit(1)
        start("200 OK", [("Content-Length", "1000")])
        return cut()
    else:
        body = json.dumps({name: value for name, value in variables.items() if isinstance(value, str)}).encode()
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
'''


def ask(path, method="GET", body=None, headers=None, timeout=10, **options):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout)
    connection.request(method, path, body=body, headers=headers or {}, **options)
    answer = connection.getresponse()
    answer.text = answer.read()
    connection.close()
    return answer


def up(cluster, protocol, instances=1, service="", route="route / -> app;"):
    cluster.file("app.py", APPLICATION)
    option = "--socket" if protocol == "uwsgi" else "--scgi-socket"
    # Files of uWSGI's own are kept out of the shared folder; no master, so that a kill is one's death.
    cluster.up(f"""
        service app {{ run {UWSGI} --plugin python3 {option} 0.0.0.0:9000 --wsgi-file {cluster.directory}/app.py
                           --need-app --threads 4 --enable-threads --thunder-lock;
                       speaks {protocol}; env WHO=$instance; instances {instances}; {service} }}
        gateway threads=2;
        listen {PORT} http {{ access-log text; {route} }}""")
    cluster.wait_up(instances, within=20)


@pytest.fixture(params=["uwsgi", "scgi"])
def protocol(request):
    return request.param


# ---- what is sent ------------------------------------------------------------------------------

def exactly(connection, length):
    data = b""
    while len(data) < length:
        some = connection.recv(length - len(data))
        assert some, "the request is cut"
        data += some
    return data


def uwsgi_read(connection):
    """The packet's variables, in their order."""
    modifier, low, high, other = exactly(connection, 4)
    assert (modifier, other) == (0, 0)
    packet, found, at = exactly(connection, low + 256 * high), [], 0
    while at < len(packet):
        pair = []
        for _ in range(2):
            size = int.from_bytes(packet[at:at + 2], "little")
            pair.append(packet[at + 2:at + 2 + size].decode())
            at += 2 + size
        found.append(tuple(pair))
    assert at == len(packet)
    return found


def scgi_read(connection):
    """The netstring's variables, in their order."""
    digits = b""
    while (byte := exactly(connection, 1)) != b":":
        digits += byte
    assert digits == str(int(digits)).encode()
    text = exactly(connection, int(digits))
    assert exactly(connection, 1) == b"," and text.endswith(b"\0")
    words = [word.decode() for word in text[:-1].split(b"\0")]
    assert len(words) % 2 == 0
    return list(zip(words[::2], words[1::2]))


class Program:
    """Reads one request strictly, keeps it, and answers."""

    def __init__(self, protocol, answer):
        self.read = uwsgi_read if protocol == "uwsgi" else scgi_read
        self.answer, self.heard = answer, []

    def __call__(self, connection):
        if not connection.recv(1, socket.MSG_PEEK):
            return  # there was no request after all
        variables = self.read(connection)
        body = exactly(connection, int(dict(variables)["CONTENT_LENGTH"] or 0))
        connection.settimeout(0.2)
        try:
            assert not connection.recv(1), "bytes behind the request"
        except TimeoutError:
            pass
        self.heard.append((variables, body))
        connection.sendall(self.answer)


@pytest.fixture
def played(cluster, protocol):
    """A server of the test's own: `played(answer)` gives the program, which is served already."""
    origins = []

    def play(answer, **options):
        program = Program(protocol, answer)
        origins.append(Origin(program))
        cluster.up(f"""service app {{ at {origins[0].text}; speaks {protocol}; retry tries=1; }}
                       listen {PORT} http {{ bounds header=256k; route / -> app; }}""")
        processes.wait_for(lambda: not clients.refused(PORT), 5, "the listener")
        return program

    yield play
    for origin in origins:
        origin.close()


def test_framing(played, protocol):
    program = played(b"Status: 201 Made\r\nContent-Type: text/x\r\n\r\nbody")
    answer = ask("/a%20b//c;d?x=%31&y", headers={"X-Two-Words": "v", "Proxy": "evil", "X_Two_Words": "other",
                                                  "Cookie": "a=b", "Host": "shop.example:81"})
    assert (answer.status, answer.reason, answer.text) == (201, "Made", b"body")
    assert answer.getheader("Content-Type") == "text/x" and answer.getheader("Status") is None
    variables, body = program.heard[0]
    found = dict(variables)
    assert len(found) == len(variables), "a variable is told twice"
    wanted = {"SCRIPT_NAME": "", "QUERY_STRING": "x=%31&y", "REQUEST_METHOD": "GET",
              "REQUEST_URI": "/a%20b//c;d?x=%31&y", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1",
              "SERVER_NAME": "shop.example", "SERVER_PORT": str(PORT), "HTTP_HOST": "shop.example:81",
              "HTTP_X_TWO_WORDS": "v", "HTTP_COOKIE": "a=b", "REQUEST_SCHEME": "http"}
    assert {name: found.get(name) for name in wanted} == wanted and body == b""
    assert found["PATH_INFO"] in ("/a b//c;d", "/a b/c;d") and "HTTP_PROXY" not in found and "HTTPS" not in found
    if protocol == "scgi":
        assert variables[0] == ("CONTENT_LENGTH", "0") and found["SCGI"] == "1"
    for chunked, data in ((False, b"x" * 300000), (True, b"abc" * 5)):
        sent = iter([data]) if chunked else data
        assert ask("/", "POST", sent, encode_chunked=chunked).status == 201
        variables, body = program.heard[-1]
        assert body == data and dict(variables)["CONTENT_LENGTH"] == str(len(data))
    # A head that no packet of uwsgi holds is refused before anybody hears of it; SCGI has no such bound.
    heard = len(program.heard)
    with socket.create_connection(("127.0.0.1", PORT), 5) as client:
        client.sendall(b"GET /?%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 40000))  # it is told twice
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 503" if protocol == "uwsgi" else b"HTTP/1.1 201")
    assert len(program.heard) == heard + (protocol == "scgi")


ANSWERS = [
    (b"Status: 101 Switching\r\n\r\n", 502), (b"HTTP/1.1 100 Continue\r\n\r\n", 502), (b"HTTP/1.1 20\r\n\r\n", 502),
    (b"", 502), (b"Status: 200", 502), (b"no field\r\n\r\n", 502), (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502),
    (b"HTTP/1.1 404 Nowhere\r\nContent-Length: 3\r\n\r\nabc", 404), (b"Location: /x\r\n\r\n", 302),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200)]


def test_answers_of_any_kind(played):
    program = played(b"")
    for program.answer, status in ANSWERS:
        assert ask("/", "POST", "").status == status, program.answer
    program.answer = b"Content-Length: 10\r\n\r\nshort"
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask("/")


# ---- uWSGI -------------------------------------------------------------------------------------

@real
def test_uwsgi_serves(cluster, protocol):
    up(cluster, protocol)
    found = json.loads(ask("/a%20b/c?x=1", headers={"X-Two-Words": "v"}).text)
    wanted = {"PATH_INFO": "/a b/c", "SCRIPT_NAME": "", "QUERY_STRING": "x=1", "REQUEST_METHOD": "GET",
              "HTTP_X_TWO_WORDS": "v", "REMOTE_ADDR": "127.0.0.1"}
    assert {name: found.get(name) for name in wanted} == wanted
    answer = ask("/teapot")
    assert (answer.status, answer.reason, answer.text) == (418, "Short and stout", b"short")
    assert answer.msg.get_all("Set-Cookie") == ["a=1", "b=2"] and answer.getheader("X-Kind") == "pot"
    answer = ask("/moved")
    assert answer.status == 302 and answer.getheader("Location") == "/elsewhere"
    assert ask("/whoami", "HEAD").text == b""
    body = os.urandom(5 << 20)
    assert ask("/upload", "POST", body).text == b"%d " % len(body) + hashlib.sha256(body).hexdigest().encode()
    assert len(ask("/large").text) == 160 * 65536
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", PORT), 5) as client:
        client.sendall(b"GET /parts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while b"one" not in data:
            data += client.recv(4096)
        assert time.monotonic() - begun < 0.6  # it streams
        while b"two" not in data:
            data += client.recv(4096)


@real
def test_its_death_is_told(cluster, protocol):
    up(cluster, protocol, service="retry tries=1; hold within=200ms;")
    assert ask("/die").status in (502, 503)
    cluster.wait_up(1, within=20)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask("/cut")


@real
def test_killed_instances_cost_nothing(cluster, protocol):
    up(cluster, protocol, instances=2)
    with Load(PORT, workers=4) as load:
        load.wait_more(50)
        for number in (1, 2):
            pid = cluster.pid(number)
            os.kill(pid, signal.SIGKILL)
            cluster.wait_restarted(number, pid, within=20)
            load.wait_more(30)
    assert load.refused == 0
    assert not load.failed, load.failed[:3]


def test_routes_say_nothing_of_scripts(cluster):
    cluster.configure("""service app { run x; port 9000; speaks uwsgi; }
                         listen 80 http { route / -> app root=/srv; }""")
    outcome = cluster.command("check", check=False)
    assert outcome.returncode and "this is for services that speak FastCGI" in outcome.stdout + outcome.stderr
