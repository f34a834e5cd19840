"""gRPC through the gateway, with Debian's python3-grpcio at both ends: calls of each kind, deadlines,
failures as a grpc-status, balance by call, and no call lost by a restart, a drain or a reload."""

import json
import os
import signal
import subprocess
import time

import pytest

from harness.programs import PYTHON
from reload_test import reload
from tls_test import identity

PORT, SECURE = 8080, 8443


def text(programs, count=1, service="", listen="", more=""):
    return f"""
        service echo {{
            run {programs.python("grpc_server")}; env WHO=$instance PORT=9000; instances {count}; port 9000;
            speaks http2; {service}
        }}
        listen {PORT} http {{ {listen} route /test.Echo/ -> echo; {more} }}"""


class Client:
    def __init__(self, programs, target=f"127.0.0.1:{PORT}", environment=None):
        self.command = [PYTHON, programs.path("grpc_client.py"), target]
        self.environment = {**os.environ, **(environment or {})}

    def start(self, *arguments):
        return subprocess.Popen([*self.command, *map(str, arguments)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=self.environment)

    def end(self, process):
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        return json.loads(output.splitlines()[-1])

    def __call__(self, *arguments):
        return self.end(self.start(*arguments))


@pytest.fixture
def client(programs):
    return Client(programs)


def test_calls_of_each_kind(cluster, programs, client):
    cluster.up(text(programs))
    cluster.wait_up(1)
    assert client("unary", "hello") == ["OK", "1 hello tagged", {"who": "1"}]
    assert client("unary", "fail") == ["FAILED_PRECONDITION", None, "as was asked for"]
    assert client("downstream", 200, 50_000) == [200, 10_000_000, "OK"]
    assert client("upstream", 200, 50_000) == "200 10000000"
    heard, ended, code = client("both", 20)
    assert heard == [f"1 {number}" for number in range(20)] and ended and code == "OK"


def test_with_tls_at_both_ends(cluster, programs):
    folder = cluster.folder("tls")
    identity(folder, "ca")
    identity(folder, "shop", "shop.example", issuer="ca")
    cluster.up(f"""
        service echo {{
            run {programs.python("grpc_server")}; port 9000; speaks http2;
            env WHO=tls PORT=9000 CERTIFICATE={folder}/shop.crt KEY={folder}/shop.key;
            tls name=shop.example ca={folder}/ca.crt; check grpc test.Echo every=200ms;
        }}
        listen {SECURE} http tls {{ certificate {folder}/shop.crt key={folder}/shop.key; route / -> echo; }}""")
    cluster.wait_up(1)
    client = Client(programs, f"tls:shop.example:{SECURE}", {"CA": f"{folder}/ca.crt"})
    assert client("unary", "hello")[:2] == ["OK", "tls hello tagged"]
    assert client("downstream", 20, 50_000) == [20, 1_000_000, "OK"]


def test_calls_of_one_client_are_balanced(cluster, programs, client):
    cluster.up(text(programs, count=3, service="balance round-robin;"))
    cluster.wait_up(3)
    codes, by = client("load", 1, 4)
    assert list(codes) == ["OK"]
    assert set(by) == {"1", "2", "3"} and max(by.values()) < 1.5 * min(by.values()), by


def test_a_deadline_ends_the_call(cluster, programs, client):
    """The client is a patient one: what ends the call is the gateway, by grpc-timeout."""
    cluster.up(text(programs))
    cluster.wait_up(1)
    code, _, details = client("unary", "sleep 3", 0.5)
    assert code == "DEADLINE_EXCEEDED"
    *_, said = raw("unary-like", ("grpc-timeout", "300m"), body=b"\0\0\0\0\x07sleep 3")
    assert said["grpc-status"] == "4"


def raw(_, *fields, path="/test.Echo/Unary", body=b"\0\0\0\0\1x"):
    """A call by curl, whose client knows no deadline: (fields of the answer, trailers)."""
    header = [word for name, value in fields for word in ("-H", f"{name}: {value}")]
    done = curl(header, path, body)
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.decode().replace("\r", "").strip().split("\n")
    return first, dict(line.split(": ", 1) for line in lines if ": " in line)


def curl(header, path, body):
    return subprocess.run(["curl", "-sS", "--max-time", "10", "--http2-prior-knowledge", "-D", "-", "-o",
                           "/dev/null", "-H", "content-type: application/grpc", "-H", "te: trailers", *header,
                           "--data-binary", "@-", f"http://127.0.0.1:{PORT}{path}"], input=body,
                          capture_output=True, timeout=20)


def test_failures_of_ours_have_a_grpc_status(cluster, programs, client):
    cluster.up(text(programs, service="hold within=300ms;",
                    more="""route /gone/ -> gone; route /few/ -> echo { bounds body=3; }""") + """
        service gone { at 127.0.0.1:1; speaks http2; }""")
    cluster.wait_up(1, "echo")
    assert raw("", path="/nowhere/")[1]["grpc-status"] == "12"
    first, said = raw("", path="/gone/")
    assert first.startswith("HTTP/2 200") and said["content-type"] == "application/grpc"
    assert (said["grpc-status"], said["grpc-message"]) == ("14", "nobody could serve it")
    assert raw("", path="/few/")[1]["grpc-status"] == "8"
    assert client("method", "Missing")[0] == "UNIMPLEMENTED"  # the server's own
    # Who does not call gets a page.
    page = subprocess.run(["curl", "-sS", "-i", f"http://127.0.0.1:{PORT}/gone/"], capture_output=True, text=True)
    assert page.stdout.startswith("HTTP/1.1 503") and "grpc" not in page.stdout


def test_a_stream_whose_instance_dies_ends_with_a_status(cluster, programs, client):
    cluster.up(text(programs))
    cluster.wait_up(1)
    process = client.start("cut", 5)
    assert json.loads(process.stdout.readline()) == ["1 one"]
    os.kill(cluster.pid(1), signal.SIGKILL)
    heard, code = client.end(process)
    assert (heard, code) == (["1 one"], "UNAVAILABLE")


def test_a_killed_instance_fails_no_call_that_may_be_sent_again(cluster, programs, client):
    cluster.up(text(programs, count=2, service="retry methods=all tries=3 budget=100%;"))
    cluster.wait_up(2)
    process = client.start("load", 3, 4)
    time.sleep(1)
    os.kill(cluster.pid(1), signal.SIGKILL)
    codes, by = client.end(process)
    assert list(codes) == ["OK"], codes
    assert by["2"] > 0


def test_a_restart_under_load_loses_no_call(cluster, programs, client):
    """Calls are POST, which may not be sent twice: draining must be enough."""
    cluster.up(text(programs, count=2))
    cluster.wait_up(2)
    before = {number: cluster.pid(number) for number in (1, 2)}
    process = client.start("load", 6, 4)
    time.sleep(0.5)
    cluster.command("restart", "echo", timeout=30)
    codes, by = client.end(process)
    assert list(codes) == ["OK"], codes
    assert all(cluster.pid(number) != pid for number, pid in before.items())


def test_a_reload_cuts_no_stream(cluster, programs, client):
    cluster.up(text(programs, count=2))
    cluster.wait_up(2)
    process, loading = client.start("cut", 2), client.start("load", 2, 4)
    process.stdout.readline()
    for turn in range(3):
        time.sleep(0.3)
        reload(cluster, text(programs, count=2, listen=f"header response set X-Turn {turn};"))
    assert client.end(process)[1] == "OK"
    codes, _ = client.end(loading)
    assert list(codes) == ["OK"], codes


def test_the_health_service_is_asked(cluster, programs, client):
    flag = cluster.directory / "ill"
    cluster.up(text(programs, count=1, service=f"check grpc every=100ms fall=2; env HEALTH={flag};"))
    cluster.wait_up(1)
    assert client("unary", "hello")[0] == "OK"
    flag.write_text("x")
    cluster.wait(lambda: not cluster.instances()[1]["healthy"], what="the instance to be ill")
    flag.unlink()
    cluster.wait_up(1)
    assert client("unary", "hello")[0] == "OK"


def test_a_service_that_is_named_is_asked_about(cluster, programs):
    cluster.up(text(programs, service="check grpc test.Echo every=100ms;"))
    cluster.wait_up(1)
    reload(cluster, text(programs, service="check grpc nobody.Knows every=100ms fall=2;"))
    cluster.wait_output("instance-ill.*its health service does not know the name")
