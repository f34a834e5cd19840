"""FastCGI to a real PHP-FPM: variables, bodies, paths, errors, timeouts, kept connections, and masters
that are killed under load."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness.clients import Load

PORT = 8080
FPM = next((name for name in ("php-fpm8.2", "php-fpm") if shutil.which(name)), None)
pytestmark = pytest.mark.skipif(FPM is None, reason="PHP-FPM is not installed")

SCRIPTS = {
    "index.php": """<?php header("Content-Type: application/json");
        echo json_encode($_SERVER);""",
    "whoami/index.php": """<?php echo getenv("WHO") . " x";""",
    "form.php": """<?php echo $_POST["a"] . "|" . $_POST["b"] . "|" . $_SERVER["CONTENT_LENGTH"];""",
    "upload.php": """<?php $in = fopen("php://input", "rb"); $sum = hash_init("sha256"); $length = 0;
        while (($some = fread($in, 65536)) !== false && $some !== "") {
            hash_update($sum, $some); $length += strlen($some); }
        echo $length . " " . hash_final($sum);""",
    "large.php": """<?php $line = str_repeat("0123456789abcdef", 4096);
        for ($i = 0; $i < 320; $i++) echo $line;""",
    "status.php": """<?php http_response_code(418); echo "short";""",
    "moved.php": """<?php header("Location: /elsewhere");""",
    "nothing.php": """<?php http_response_code(204);""",
    "fatal.php": """<?php ini_set("display_errors", "0"); nowhere();""",
    "noisy.php": """<?php ini_set("log_errors", "1"); error_log("a\\x1b[31mred line"); echo "said";""",
    "die.php": """<?php exec("kill -9 " . getmypid());""",
    "cut.php": """<?php echo "begun"; ob_flush(); flush(); usleep(200000);
        exec("kill -9 " . getmypid());""",
    "short.php": """<?php header("Content-Length: 10"); echo "short";""",
    "slow.php": """<?php sleep(5); echo "late";""",
    "nap.php": """<?php sleep(1); echo "rested";""",
    "flood.php": """<?php ini_set("log_errors", "1"); ini_set("log_errors_max_len", "0");
        for ($i = 0; $i < 20000; $i++) error_log(str_repeat("complaint ", 100));
        echo "said";""",
    "parts.php": """<?php ob_end_flush(); echo "one"; flush(); usleep(700000); echo "two";""",
}


class Site:
    """Instances of PHP-FPM behind one route."""

    def __init__(self, cluster, service="", children=4, instances=1, listen="listen = 9000", more="",
                 route="/ -> php", options="index=index.php", listener=""):
        for name, text in SCRIPTS.items():
            cluster.file(f"www/{name}", text)
        lines = ["[global]", "daemonize = no", "error_log = /dev/stderr", "[www]", "user = root", listen,
                 "pm = static", f"pm.max_children = {children}", "clear_env = no",
                 "php_admin_value[post_max_size] = 64M"]
        cluster.file("fpm.conf", "\n".join(lines) + "\n")
        self.cluster, self.root = cluster, cluster.directory / "www"
        cluster.up(f"""
            service php {{ run {FPM} -F -R -n -y {cluster.directory}/fpm.conf; speaks fastcgi;
                           env WHO=$instance; instances {instances}; {service} }}
            {more}
            gateway threads=2;
            listen {PORT} http {{ access-log text; {listener} route {route} root=www {options}; }}""")


def ask(path, method="GET", body=None, headers=None, timeout=10, **options):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout)
    connection.request(method, path, body=body, headers=headers or {}, **options)
    answer = connection.getresponse()
    answer.text = answer.read()
    connection.close()
    return answer


def variables(path, **options):
    return json.loads(ask(path, **options).text)


@pytest.fixture
def php(cluster):
    site = Site(cluster)
    cluster.wait_up(1)
    return site


def test_variables(php):
    found = variables("/index.php/a%20b/c?x=%31&y", headers={
        "X-Two-Words": "v", "Proxy": "http://evil", "X_Two_Words": "other", "Cookie": "a=b",
        "Host": "shop.example:81"})
    root = str(php.root)
    wanted = {
        "SCRIPT_FILENAME": f"{root}/index.php", "SCRIPT_NAME": "/index.php", "PATH_INFO": "/a b/c",
        "DOCUMENT_ROOT": root, "QUERY_STRING": "x=%31&y", "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/index.php/a%20b/c?x=%31&y", "SERVER_PROTOCOL": "HTTP/1.1",
        "GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "shop.example",
        "SERVER_PORT": str(PORT), "HTTP_HOST": "shop.example:81", "HTTP_X_TWO_WORDS": "v",
        "HTTP_COOKIE": "a=b", "PHP_SELF": "/index.php/a b/c", "REQUEST_SCHEME": "http",
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert "HTTP_PROXY" not in found and "HTTPS" not in found


def test_paths(php):
    assert variables("/")["SCRIPT_NAME"] == "/index.php"
    assert ask("/whoami/").text == b"1 x"
    assert ask("/nowhere.php").status == 404  # PHP's own answer
    assert ask("/nowhere.txt").status == 404  # never a script
    assert ask("/..%2f..%2fetc/passwd.php").status in (400, 404)
    assert ask("/%2e%2e/index.php").status == 400


def test_one_script_for_all_paths(cluster):
    Site(cluster, options="index=/index.php")
    cluster.wait_up(1)
    found = variables("/blog/2026/hello?p=1")
    assert found["SCRIPT_NAME"] == "/index.php" and found["QUERY_STRING"] == "p=1"
    assert found["REQUEST_URI"] == "/blog/2026/hello?p=1" and "PATH_INFO" not in found


def test_forms_and_uploads(php):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ask("/form.php", "POST", "a=1&b=two", form).text == b"1|two|9"
    # A chunked body has no length, and PHP wants one: a small one is measured, a large one refused.
    parts = [b"a=chunk", b"&b=", b"ed"]
    assert ask("/form.php", "POST", iter(parts), form, encode_chunked=True).text == b"chunk|ed|12"
    answer = ask("/upload.php", "POST", iter([b"x" * 50000] * 2), encode_chunked=True)
    assert answer.status == 411
    body = os.urandom(20 << 20)
    digest = subprocess.run(["sha256sum"], input=body, capture_output=True, check=True).stdout[:64]
    assert ask("/upload.php", "POST", body, timeout=30).text == b"%d " % len(body) + digest
    waits = {"Expect": "100-continue", "Content-Length": "3"}
    with socket.create_connection(("127.0.0.1", PORT), 5) as client:
        head = "".join(f"{name}: {value}\r\n" for name, value in waits.items())
        client.sendall(f"POST /upload.php HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"abc")
        assert b"\r\n\r\n3 ba7816bf" in client.recv(4096)


def test_answers(php):
    answer = ask("/status.php")
    assert answer.status == 418 and answer.text == b"short" and not answer.getheader("Status")
    answer = ask("/moved.php")
    assert answer.status == 302 and answer.getheader("Location") == "/elsewhere"
    assert ask("/nothing.php").status == 204
    assert ask("/index.php", "HEAD").text == b"" and ask("/index.php", "HEAD").status == 200
    assert len(ask("/large.php").text) == 20 << 20
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", PORT), 5) as client:
        client.sendall(b"GET /parts.php HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = client.recv(4096)
        while b"one" not in data:
            data += client.recv(4096)
        assert time.monotonic() - begun < 0.6  # it streams
        while b"two" not in data:
            data += client.recv(4096)


def test_a_slow_client_holds_php_back(php):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client.connect(("127.0.0.1", PORT))
        client.sendall(b"GET /large.php HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        time.sleep(1)
        gateway = [pid for pid in php.cluster.enginx_processes()
                   if b"gateway" in open(f"/proc/{pid}/cmdline", "rb").read()]
        rss = max(int(line.split()[1]) for pid in gateway for line in open(f"/proc/{pid}/status")
                  if line.startswith("VmRSS"))
        assert rss < 60000  # kB: of 20 MB nothing is collected
        length = 0
        while some := client.recv(1 << 20):
            length += len(some)
        assert length > 20 << 20


def test_errors(php):
    assert ask("/fatal.php").status == 500
    assert ask("/noisy.php").text == b"said"
    log = php.cluster.state / "log" / "enginx.log"
    php.cluster.wait(lambda: 'fastcgi-stderr instance=php.1 text="PHP message: a\\x1b[31mred line' in
                     log.read_text(), 5, "the complaint in the log")
    answer = ask("/die.php")  # before the head, at every try
    assert answer.status == 502
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask("/cut.php")
    assert ask("/short.php").status == 502  # known before anything was passed on
    assert ask("/status.php").status == 418


def test_a_slow_script_is_a_timeout(cluster):
    Site(cluster, service="timeout response=500ms;")
    cluster.wait_up(1)
    begun = time.monotonic()
    assert ask("/slow.php").status == 504
    assert time.monotonic() - begun < 2
    assert ask("/status.php").status == 418


class Asking(threading.Thread):
    """One request; its answer, and how long that took."""

    def __init__(self, path, **options):
        super().__init__(daemon=True)
        self.path, self.options, self.answer, self.seconds = path, options, None, None
        self.start()

    def run(self):
        begun = time.monotonic()
        self.answer = ask(self.path, **self.options)
        self.seconds = time.monotonic() - begun


def ended(*asking):
    for one in asking:
        one.join(15)
    return sorted(one.answer.status for one in asking)


def test_all_children_are_busy(cluster):
    """More requests than processes wait in PHP-FPM's own queue."""
    Site(cluster, children=2)
    cluster.wait_up(1)
    six = [Asking("/nap.php") for _ in range(6)]
    assert ended(*six) == [200] * 6
    assert max(one.seconds for one in six) > 2.5  # in three turns


def test_more_wait_than_may(cluster):
    """… or in the gateway, which knows what an instance can do, and for how long it is worth waiting."""
    Site(cluster, children=2, service="capacity requests=2; hold requests=2 within=400ms;")
    cluster.wait_up(1)
    busy = [Asking("/nap.php") for _ in range(2)]
    cluster.wait(lambda: ask("/status.php").status == 503, 5, "both to be busy")
    more = [Asking("/status.php") for _ in range(6)]
    assert ended(*more) == [503] * 6
    assert sum(one.seconds < 0.3 for one in more) == 4 and sum(one.seconds > 0.35 for one in more) == 2
    assert ended(*busy) == [200] * 2
    assert ask("/status.php").status == 418


def gateway_memory(cluster):
    """The most that a process of the gateway has ever had, in kB."""
    pids = [pid for pid in cluster.enginx_processes() if b"gateway" in open(f"/proc/{pid}/cmdline", "rb").read()]
    return max(int(line.split()[1]) for pid in pids for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM"))


def test_a_flood_of_complaints(php):
    """20 MB of standard error, of which the log gets some lines a second and nobody else anything."""
    begun = time.monotonic()
    answer = ask("/flood.php", timeout=30)
    seconds = time.monotonic() - begun
    assert answer.status == 200 and answer.text == b"said"
    log = (php.cluster.state / "log" / "enginx.log").read_text()
    assert 1 <= log.count("fastcgi-stderr") <= 20 * (seconds + 1)
    assert gateway_memory(php.cluster) < 40000
    assert ask("/status.php").status == 418


def test_a_client_that_stops_reading(cluster):
    """It is cut when its time is over, and the script of it with it; one that is only slow is not."""
    Site(cluster, children=2, listener="timeout send=1s;")
    cluster.wait_up(1)
    with socket.socket() as stopped, socket.socket() as slow:
        for client in (stopped, slow):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            client.settimeout(10)
            client.connect(("127.0.0.1", PORT))
            client.sendall(b"GET /large.php HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        length = 0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            length += len(slow.recv(4096))
            time.sleep(0.05)
        with pytest.raises(ConnectionError):
            while stopped.recv(65536):
                pass
        while some := slow.recv(1 << 20):
            length += len(some)
        assert length > 20 << 20
    assert ended(*[Asking("/status.php") for _ in range(4)]) == [418] * 4  # both processes are free


@pytest.mark.parametrize("idle", ["", "capacity idle=2;"])
def test_connections_are_kept_where_it_is_said(cluster, idle):
    Site(cluster, service=idle)
    cluster.wait_up(1)
    for _ in range(20):
        assert variables("/index.php")["SCRIPT_NAME"] == "/index.php"
    ports = subprocess.run(["ss", "-Htn", "state", "established", "dport = :9000"],
                           capture_output=True, text=True, check=True).stdout.split("\n")
    open_now = len([line for line in ports if line])
    assert (1 <= open_now <= 4) if idle else open_now == 0


def test_a_unix_socket(cluster):
    path = cluster.directory / "php.sock"
    Site(cluster, more=f"service remote {{ at unix:{path}; speaks fastcgi; }}",
         listen=f"listen = {path}\nlisten.mode = 0666", service="port none;", route="/ -> remote")
    cluster.wait(path.exists, 5, "the socket")
    cluster.wait(lambda: ask("/status.php").status == 418, 5, "an answer")
    assert ask("/form.php", "POST", "a=1&b=2",
               {"Content-Type": "application/x-www-form-urlencoded"}).text == b"1|2|7"


# What is kept occupies processes of PHP-FPM: 2 by 2 threads leave 4 of 8.
@pytest.mark.parametrize("service", ["", "capacity idle=2;"])
def test_killed_masters_cost_nothing(cluster, service):
    Site(cluster, instances=3, children=8, service=service)
    cluster.wait_up(3)
    load = Load(PORT)
    load.REQUEST = b"GET /whoami/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with load:
        load.wait_more(100)
        for number in (1, 2, 3):
            pid = cluster.pid(number)
            os.kill(pid, signal.SIGKILL)
            cluster.wait_restarted(number, pid)
            load.wait_more(50)
    assert load.refused == 0 and load.failed == []
    assert set(load.answers) == {"1", "2", "3"}


class EitherServer(threading.Thread):
    """Answers HTTP and FastCGI, each on connections of its own; `mixed`: those that had both."""

    RECORDS = (b"\1\6\0\1\0\x1a\0\0Content-Type: a\r\n\r\nrecords"
               b"\1\3\0\1\0\x08\0\0" + bytes(8))
    HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhttp"

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.mixed, self.accepted = self.listener.getsockname()[1], 0, 0
        self.start()

    def run(self):
        while True:
            connection = self.listener.accept()[0]
            self.accepted += 1
            threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection):
        first = None
        while data := connection.recv(65536):
            records = data[0] == 1
            first = records if first is None else first
            self.mixed += records != first
            connection.sendall(self.RECORDS if records else self.HTTP)


def test_a_reload_changes_what_is_spoken(cluster):
    server = EitherServer()

    def text(speaks, options):
        return f"""
            gateway threads=2;
            service php {{ at 127.0.0.1:{server.port}; speaks {speaks}; capacity idle=4; }}
            listen {PORT} http {{ route / -> php {options}; }}"""

    cluster.up(text("http", ""))
    cluster.wait_output("ready cluster")
    cluster.wait(lambda: ask("/a.php").text == b"http", 5, "an answer")
    for _ in range(10):
        assert ask("/a.php").text == b"http"
    cluster.configure(text("fastcgi", "root=/srv"))
    cluster.command("reload")
    for _ in range(10):
        assert ask("/a.php").text == b"records"
    assert server.mixed == 0 and server.accepted < 20
