"""Servers that somebody else runs (`at`), and checks by the gateway over the network."""

import http.server
import os
import signal
import threading

import pytest

from harness import clients

pytestmark = pytest.mark.both_accounts


class Server:
    """Somebody else's: says its name; its check, /healthz, has the status that a test sets."""

    def __init__(self, name, address):
        self.name, self.status, self.checks = name, 200, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                check = self.path == "/healthz"
                outer.checks += check
                body = f"{outer.name} -\n".encode()
                self.send_response(outer.status if check else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *ignored):
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.text = f"{address}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def servers(network):
    made = [Server("one", "127.0.0.2"), Server("two", "127.0.0.3")]
    yield made
    for server in made:
        server.close()


def answers(port, times=20):
    """Who answers; "" among them: nobody, yet."""
    return {(clients.answer(port) or "").partition(" ")[0] for _ in range(times)}


@pytest.mark.parametrize("protocol", ["http", "tcp"])
def test_remotes_are_checked(cluster, servers, protocol):
    one, two = servers
    cluster.up(f"""
        service back {{
            at {one.text}; at {two.text};
            check http /healthz every=100ms timeout=1s rise=2 fall=2;
        }}
        listen 8080 {protocol} -> back;""")
    cluster.wait(lambda: answers(8080) == {"one", "two"}, 5, "both")
    two.status = 503
    cluster.wait(lambda: answers(8080) == {"one"}, 5, "one alone")
    two.status = 200
    cluster.wait(lambda: answers(8080) == {"one", "two"}, 5, "both again")
    two.close()
    for _ in range(100):  # what is kept alive may still be answered
        assert clients.who(8080) in {"one", "two"}
    cluster.wait(lambda: answers(8080) == {"one"}, 5, "one alone, since the other died")


def test_an_instance_that_is_ill_gets_nothing(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance; instances 2;
            check http /whoami match="1 " every=100ms timeout=1s rise=1 fall=1;
        }}
        listen 8080 http -> web;""")
    cluster.wait(lambda: clients.answer(8080), 5, "one that is well")
    assert answers(8080) == {"1"}  # the other's answer does not hold what it should


def test_requests_wait_for_the_only_instance(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance; env START_DELAY=0.5;
            check http /whoami every=200ms timeout=1s rise=2 fall=3;
        }}
        listen 8080 http -> web;""")
    cluster.wait_up(1)
    for _ in range(3):
        os.kill(cluster.pid(1), signal.SIGKILL)
        assert clients.who(8080, timeout=10) == "1"
