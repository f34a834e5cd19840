"""Requests find their route by host and path; redirects, responses, rewrites and header rules do what
the file says; each request is a line in the access log and counts on the metrics page."""

import http.client
import json
import re

import pytest

from harness import clients, processes

PORT, METRICS = 18080, 18081

CONFIGURATION = """
    metrics 127.0.0.1:18081;
    service web {{ run {web}; env WHO=web; }}
    service api {{ run {web}; env WHO=api PORT=8001; }}
    listen 127.0.0.1:18080 http {{
        access-log {log};
        host shop.example *.shop.example {{
            route /api/ -> api {{
                rewrite strip=/api;
                header response set X-Route $host;
                header response remove Server;
            }}
            route ~^/u/([0-9]+)$ {{ redirect /user?id=$1 status=302; }}
            route =/hello method=GET {{ respond 200 "hello $arg.name\\n"; }}
            route =/hello method=PUT {{ respond 201; }}
            route =/canary header="X-Beta: yes" -> api {{ rewrite ~.* /whoami; }}
            route / -> web;
        }}
        redirect https;
    }}"""


@pytest.fixture
def site(cluster, programs):
    def start(log="off"):
        cluster.up(CONFIGURATION.format(web=programs.python("web"), log=log))
        cluster.wait_up(1, "web")
        cluster.wait_up(1, "api")
        processes.wait_for(lambda: not clients.refused(PORT), 5, "the listener")
    return start


def ask(path, host="shop.example", method="GET", headers=None, port=PORT):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, headers={"Host": host, **(headers or {})})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def who(path, **options):
    status, _, body = ask(path, **options)
    assert status == 200, (status, body)
    return body.split()[0]


def test_routes(site):
    site()
    assert who("/whoami") == "web"
    assert who("/api/whoami") == "api"
    assert who("/api/whoami", host="WWW.Shop.Example:18080") == "api"
    assert who("/x/../%61pi/./whoami") == "api"
    assert who("/canary", headers={"X-Beta": "yes"}) == "api"
    status, headers, _ = ask("/api/whoami")
    assert headers["X-Route"] == "shop.example"
    assert ask("/../etc/passwd")[0] == 400


def test_redirects_and_responses(site):
    site()
    status, headers, body = ask("/u/42")
    assert (status, headers["Location"], body) == (302, "/user?id=42", "")
    status, headers, _ = ask("/any/path?q=1", host="other.example:18080")
    assert (status, headers["Location"]) == (308, "https://other.example/any/path?q=1")
    status, headers, body = ask("/hello?name=you")
    assert (status, body, headers["Content-Length"]) == (200, "hello you\n", "10")
    status, headers, body = ask("/hello?name=you", method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, "", "10")
    assert ask("/hello", method="PUT")[0] == 201


def logged(cluster, count):
    path = cluster.state / "log" / "access.log"

    def whole():
        return path.exists() and len(path.read_text().splitlines()) >= count
    processes.wait_for(whole, 5, "the access log")
    return path.read_text().splitlines()


def test_access_log_as_text(cluster, site):
    site(log="text")
    ask("/api/whoami?a=\"b\"", headers={"User-Agent": "test \"1\"", "Referer": "http://x/"})
    ask("/hello")
    first, second = sorted(logged(cluster, 2), key=lambda line: "/hello" in line)  # two workers' lines
    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] '
        r'"GET /api/whoami\?a=\\"b\\" HTTP/1\.1" 200 \d+ "http://x/" "test \\"1\\"" "shop\.example" '
        r'"shop\.example /api/" api\.1 \d+\.\d{6} \d+\.\d{6} 1 [0-9a-f]{32} "-"', first), first
    assert " - " in second.partition('"shop.example =/hello')[2]


def test_access_log_as_json(cluster, site):
    site(log="json")
    ask("/api/whoami", headers={"User-Agent": "test"})
    ask("/../x")
    first, second = sorted(map(json.loads, logged(cluster, 2)), key=lambda line: line["status"])
    assert (first["status"], first["service"], first["instance"], first["route"], first["tries"],
            first["user_agent"]) == (200, "api", "api.1", "shop.example /api/", 1, "test")
    assert 0 < first["response"] <= first["duration"] < 5
    assert second["status"] == 400 and second["failure"].startswith("client: ")
    shown = cluster.command("logs", "-n", "2", "access").stdout.splitlines()
    assert second in map(json.loads, shown)


def test_metrics(site):
    site()
    for _ in range(3):
        who("/api/whoami")
    ask("/u/1")
    status, headers, page = ask("/metrics", port=METRICS)
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    values = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    route = 'listener="tcp:127.0.0.1:18080",route="shop.example /api/"'
    assert values[f'enginx_route_requests_total{{{route},class="2xx"}}'] == "3"
    assert values[f"enginx_route_request_seconds_count{{{route}}}"] == "3"
    assert values['enginx_service_requests_total{service="api",class="2xx"}'] == "3"
    assert values['enginx_endpoint_up{service="api",endpoint="api.1"}'] == "1"
    assert values['enginx_endpoint_responses_total{service="api",endpoint="api.1",class="2xx"}'] == "3"
    assert values['enginx_listener_requests_total{listener="tcp:127.0.0.1:18080",class="3xx"}'] == "1"
    assert ask("/", port=METRICS)[0] == 404
