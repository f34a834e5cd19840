"""What stands before routes: who may, how often, and how many at a time — over HTTP/1.1 and HTTP/2, on
all workers together, over reloads; what is refused is counted and logged."""

import base64
import concurrent.futures
import hmac
import http.client
import json
import re
import socket
import subprocess
import time

import pytest

from harness import clients, processes
from harness.origins import resident
from reload_test import reload

PORT, METRICS = 18080, 18081

HEAD = "gateway threads=2; metrics 127.0.0.1:18081; service web {{ run {web}; env WHO=web; }}\n"


def configured(programs, block):
    return (HEAD.format(web=programs.python("web")) +
            f"listen 127.0.0.1:{PORT} http {{ access-log json; {block} }}")


@pytest.fixture
def site(cluster, programs):
    def start(block):
        cluster.up(configured(programs, block))
        cluster.wait_up(1, "web")
        processes.wait_for(lambda: not clients.refused(PORT), 5, "the listener")
    return start


def ask(path="/whoami", method="GET", headers=None, source="127.0.0.1", port=PORT, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def metric(pattern):
    page = clients.ask(METRICS, path="/metrics")
    return sum(float(value) for value in re.findall(pattern + r"\} (\S+)$", page, re.M))


def curl(*arguments):
    return subprocess.run(["curl", "-s", *map(str, arguments)], capture_output=True, text=True, timeout=30)


def logged(cluster, count):
    path = cluster.state / "log" / "access.log"
    processes.wait_for(lambda: path.exists() and len(path.read_text().splitlines()) >= count, 5, "the log")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_addresses(cluster, programs, site):
    networks = cluster.file("partners.txt", "# who is let in\n127.0.0.2\n")
    block = f"route / -> web {{ allow 127.0.0.9 file={networks}; deny all; }} route /open -> web;"
    site(block)
    assert ask(source="127.0.0.2").status == 200
    refused = ask(source="127.0.0.3")
    assert (refused.status, refused.getheader("Cache-Control")) == (403, "no-store")
    assert ask("/open", source="127.0.0.3").status == 200
    done = curl("--http2-prior-knowledge", "--interface", "127.0.0.3", "-o", "/dev/null",
                "-w", "%{http_version} %{http_code}", f"http://127.0.0.1:{PORT}/")
    assert done.stdout == "2 403"
    cluster.file("partners.txt", "127.0.0.3\n")
    reload(cluster, configured(programs, block))
    cluster.wait(lambda: ask(source="127.0.0.3").status == 200)
    assert ask(source="127.0.0.2").status == 403
    assert metric(r'enginx_route_guard_refused_total\{.*route="\* /",guard="access"') == 3
    refusals = [line for line in logged(cluster, 6) if line["status"] == 403]
    assert {line["failure"] for line in refusals} == {"client: deny"}


def test_connections_of_tcp(cluster, programs):
    cluster.up(f"service web {{ run {programs.python('web')}; env WHO=web; }}\n"
               f"listen 127.0.0.1:{PORT} tcp -> web {{ allow 127.0.0.2; deny all; }}")
    cluster.wait_up(1, "web")
    cluster.wait(lambda: ask(source="127.0.0.2").status == 200)
    with socket.create_connection(("127.0.0.1", PORT), timeout=5, source_address=("127.0.0.3", 0)) as other:
        try:
            assert other.recv(1) == b""
        except ConnectionResetError:
            pass


def test_a_rate_holds_over_all_workers(cluster, programs, site):
    """Each request has a connection of its own, so both workers get some."""
    block = "route / -> web; limit 20/h by=header:X-Key;"
    site(block)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(headers={"X-Key": "one"}), range(60)))
    assert sorted(answer.status for answer in answers) == [200] * 20 + [429] * 40
    waits = {int(answer.getheader("Retry-After")) for answer in answers if answer.status == 429}
    assert all(150 <= wait <= 180 for wait in waits), waits
    done = curl("--http2-prior-knowledge", "-H", "X-Key: one", "-o", "/dev/null", "-D", "-",
                "-w", "%{http_version}", f"http://127.0.0.1:{PORT}/whoami")
    assert "429" in done.stdout.split("\n")[0] and "retry-after: " in done.stdout
    assert ask(headers={"X-Key": "other"}).status == 200
    reload(cluster, configured(programs, block + "header response set X-New yes;"))
    cluster.wait(lambda: ask(headers={"X-Key": "third"}).getheader("X-New") == "yes")
    assert ask(headers={"X-Key": "one"}).status == 429, "what was counted goes on over a reload"
    assert metric(r'enginx_listener_guard_refused_total\{.*guard="rate"') == 42


def test_so_many_at_a_time(cluster, site):
    site("route / -> web { limit requests=2 by=client status=503; }")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(ask, "/sleep?3") for _ in range(2)]
        processes.wait_for(lambda: metric(r'enginx_route_requests_in_flight\{.*route="\* /"') == 2, 5, "two under way")
        assert ask("/none").status == 503
        assert ask("/whoami", source="127.0.0.2").status == 200
        assert {answer.result().status for answer in slow} == {200}
    assert ask("/whoami").status == 200


def test_a_flood_of_keys_takes_no_memory(cluster, site):
    """Keys are in a table of fixed size (2 MiB), which a test of its own fills."""
    site("limit 1/h burst=1 by=header:X-Key; route / { respond 200 x; }")
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)

    def status(key):
        connection.request("GET", "/", headers={"X-Key": str(key)})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    gateway = cluster.status()["gateway_pid"]
    assert {status(key) for key in range(100)} == {200}
    before = resident(gateway)
    assert {status(key) for key in range(100, 15000)} == {200}
    assert resident(gateway) - before < 3 << 20
    assert status(14999) == status(0) == 429


def test_passwords(cluster, programs, site):
    """Slow hashes keep nobody waiting but those who ask; no log has a secret in it."""
    def users(**hashes):
        cluster.file("users", "".join(f"{name}:{text}\n" for name, text in hashes.items()))
    slow = hashed("other", rounds=1000000)
    users(ann=hashed("secret"), bob=slow)
    block = ('auth basic users realm="the staff"; header request set X-User $user; '
             'route / { respond 200 "$user"; } route /whoami -> web;')
    site(block)
    refused = ask("/")
    assert (refused.status, refused.getheader("WWW-Authenticate")) == (
        401, 'Basic realm="the staff", charset="UTF-8"')
    for version in ("--http1.1", "--http2-prior-knowledge"):
        assert curl(version, "-u", "ann:secret", f"http://127.0.0.1:{PORT}/").stdout == "ann"
        done = curl(version, "-u", "ann:wrong", "-w", "%{http_code}", "-o", "/dev/null", f"http://127.0.0.1:{PORT}/")
        assert done.stdout == "401"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        bob = pool.submit(curl, "-u", "bob:other", f"http://127.0.0.1:{PORT}/")
        times = []
        while not bob.done():
            begin = time.monotonic()
            assert ask("/").status == 401
            times.append(time.monotonic() - begin)
        assert bob.result().stdout == "bob"
    assert len(times) > 5 and sorted(times)[len(times) // 2] < 0.1, times
    users(ann=hashed("changed"))
    reload(cluster, configured(programs, block))
    processes.wait_for(lambda: curl("-u", "ann:changed", f"http://127.0.0.1:{PORT}/").stdout == "ann", 5, "it")
    assert "401" in curl("-u", "ann:secret", f"http://127.0.0.1:{PORT}/").stdout
    text = (cluster.state / "log" / "access.log").read_text() + cluster.output
    assert "auth basic: a wrong name or password" in text
    assert not re.search(r"secret|changed\b|wrong:|YW5u", text.replace("changed=", ""))


def hashed(password, rounds=None):
    salt = f"rounds={rounds}$saltsalt" if rounds else "saltsalt"
    if rounds:
        done = subprocess.run(["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, f"$6${salt}"],
                              capture_output=True, text=True, check=True)
    else:
        done = subprocess.run(["openssl", "passwd", "-apr1", password], capture_output=True, text=True, check=True)
    return done.stdout.strip()


SESSIONS = '''
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        user = (self.headers.get("Cookie") or "").removeprefix("session=")
        self.send_response({"": 401, "eve": 403}.get(user, 200))
        if not user:
            self.send_header("WWW-Authenticate", "Session")
        self.send_header("X-User", user)
        self.send_header("X-Asked", self.headers["X-Original-Method"] + " " + self.headers["X-Original-URI"])
        self.send_header("Content-Length", "0")
        self.end_headers()

http.server.ThreadingHTTPServer(("", 8010), Handler).serve_forever()
'''

ECHO = '''
import http.server, socketserver

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = f"{self.headers['X-User']} {self.headers['X-Asked']} {len(body)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

http.server.ThreadingHTTPServer(("", 8011), Handler).serve_forever()
'''


def test_a_service_says_who_may(cluster):
    sessions, echo = cluster.file("sessions.py", SESSIONS), cluster.file("echo.py", ECHO)
    cluster.up(f"service sessions {{ run /usr/bin/python3 {sessions}; }} service echo {{ run /usr/bin/python3 {echo}; }}\n"
               f"listen 127.0.0.1:{PORT} http {{ auth request -> sessions copy=X-User,X-Asked; route / -> echo; }}")
    cluster.wait_up(1, "sessions")
    cluster.wait_up(1, "echo")
    body = cluster.file("body", "x" * 200000)
    for version in ("--http1.1", "--http2-prior-knowledge"):
        def ask_it(*more):
            return curl(version, "-H", "X-User: root", *more, f"http://127.0.0.1:{PORT}/a?b=c").stdout
        assert ask_it("-b", "session=ann", "--data-binary", f"@{body}") == "ann POST /a?b=c 200000"
        refused = ask_it("-D", "-", "-w", "%{http_code}")
        assert refused.endswith("401") and "www-authenticate: session" in refused.lower()
        assert ask_it("-b", "session=eve", "-o", "/dev/null", "-w", "%{http_code}") == "403"


IDP = '''
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        answer = open(os.environ["SET"], "rb").read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

http.server.ThreadingHTTPServer(("", 8012), Handler).serve_forever()
'''


def encoded(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else data.encode()).rstrip(b"=").decode()


class Issuer:
    """With an RSA key that openssl makes and signs with."""

    def __init__(self, cluster, name):
        self.name, self.key = name, cluster.directory / f"{name}.key"
        subprocess.run(["openssl", "genrsa", "-out", self.key, "2048"], check=True, capture_output=True)
        self.pem = subprocess.run(["openssl", "rsa", "-in", self.key, "-pubout"], check=True, capture_output=True,
                                  text=True).stdout
        modulus = subprocess.run(["openssl", "rsa", "-in", self.key, "-noout", "-modulus"], check=True,
                                 capture_output=True, text=True).stdout.strip().partition("=")[2]
        self.jwk = {"kty": "RSA", "kid": name, "use": "sig", "n": encoded(bytes.fromhex(modulus)), "e": "AQAB"}

    def token(self, **claims):
        text = encoded(json.dumps({"alg": "RS256", "kid": self.name})) + "." + encoded(
            json.dumps({"exp": int(time.time()) + 60, "iss": "idp", **claims}))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(),
                                   check=True, capture_output=True).stdout
        return {"Authorization": f"Bearer {text}.{encoded(signature)}"}


def test_tokens(cluster):
    old, new = Issuer(cluster, "old"), Issuer(cluster, "new")
    keys = cluster.file("set.json", json.dumps({"keys": [old.jwk]}))
    cluster.file("old.pem", old.pem)
    secret = "0123456789abcdef0123456789abcdef"
    cluster.file("secret", secret + "\n")
    idp = cluster.file("idp.py", IDP)
    cluster.up(f'service idp {{ run /usr/bin/python3 {idp}; env SET={keys}; }}\n'
               f'listen 127.0.0.1:{PORT} http {{ access-log json fields=uri,status,user,failure;\n'
               'route /file { auth jwt key=old.pem issuer=idp claim=role=admin; respond 200 "$jwt.sub $jwt.role"; }\n'
               'route /idp { auth jwt -> idp path=/set issuer=idp; respond 200 "$jwt.sub"; }\n'
               'route /secret { auth jwt secret=secret; respond 200 "$user"; } }')
    cluster.wait_up(1, "idp")
    cluster.wait(lambda: not clients.refused(PORT))

    def answer(path, headers):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.getheader("WWW-Authenticate")
    assert answer("/file", old.token(sub="ann", role=["user", "admin"]))[:2] == (200, "ann user,admin")
    assert answer("/file", {})[::2] == (401, 'Bearer realm="restricted"')
    assert answer("/file", new.token(sub="ann", role="admin"))[::2] == (
        401, 'Bearer realm="restricted", error="invalid_token"')
    assert answer("/file", old.token(sub="ann", role="user"))[::2] == (
        403, 'Bearer realm="restricted", error="insufficient_scope"')
    assert answer("/file", old.token(exp=1, role="admin"))[0] == 401
    confused = encoded('{"alg":"HS256"}') + "." + encoded('{"exp":9999999999,"role":"admin","iss":"idp"}')
    digest = hmac.digest(old.pem.encode(), confused.encode(), "sha256")
    assert answer("/file", {"Authorization": f"Bearer {confused}.{encoded(digest)}"})[0] == 401
    digest = hmac.digest(secret.encode(), confused.encode(), "sha256")
    assert answer("/secret", {"Authorization": f"Bearer {confused}.{encoded(digest)}"})[0] == 200
    assert answer("/idp", old.token(sub="ann"))[:2] == (200, "ann")
    assert answer("/idp", new.token(sub="ann"))[0] == 401
    reloaded = cluster.file("set.json", json.dumps({"keys": [old.jwk, new.jwk]}))
    assert reloaded == keys
    processes.wait_for(lambda: answer("/idp", new.token(sub="bob"))[:2] == (200, "bob"), 15, "the new key")
    processes.wait_for(lambda: {line["user"] for line in logged(cluster, 9)} == {None, "ann", "bob"}, 5, "the log")
    log = cluster.state / "log" / "access.log"
    processes.wait_for(lambda: "auth jwt: it is over (exp)" in log.read_text(), 5, "both workers' lines")
    assert "eyJ" not in log.read_text() and secret not in log.read_text()


def test_pages_of_other_origins(cluster, site):
    site('cors origin=https://shop.example credentials=on; security-headers; limit 1/h burst=1; route / -> web;')
    for version in ("--http1.1", "--http2-prior-knowledge"):
        done = curl(version, "-D", "-", "-o", "/dev/null", "-X", "OPTIONS", "-H", "Origin: https://shop.example", "-H",
                    "Access-Control-Request-Method: PUT", f"http://127.0.0.1:{PORT}/")
        head = done.stdout.lower()
        assert " 204" in head.split("\n")[0] and "access-control-allow-origin: https://shop.example\n" in head
        assert "access-control-allow-credentials: true\n" in head and "vary: origin\n" in head
    first = ask(headers={"Origin": "https://shop.example"})
    second = ask(headers={"Origin": "https://evil.example"})
    assert (first.status, first.getheader("Access-Control-Allow-Origin")) == (200, "https://shop.example")
    assert (second.status, second.getheader("Access-Control-Allow-Origin")) == (429, None)
    for answer in (first, second):
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("X-Frame-Options") == "SAMEORIGIN"
