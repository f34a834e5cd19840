"""examples/python: Django on gunicorn, ASGI on uvicorn, PostgreSQL; each restarted and killed while
people are using the site."""

import http.client
import os
import re
import signal
import urllib.parse

from harness.examples import Events, Visitors, kill_busy, start
from harness.origins import get
from harness.processes import children
from harness.websocket import WebSocket

PORT = 8080


class Browser:
    """Keeps cookies, and sends forms with the token that Django wants to see again."""

    def __init__(self):
        self.cookies = {}

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        fields = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if body:
            fields["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        text = answer.read().decode()
        connection.close()
        return answer, text

    def page(self):
        answer, text = self.ask("GET", "/")
        assert answer.status == 200, text
        return text

    def write(self, note):
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.page()).group(1)
        answer, text = self.ask("POST", "/", urllib.parse.urlencode(
            {"csrfmiddlewaretoken": token, "text": note}))
        assert answer.status == 302, text


def up(cluster):
    start(cluster, "python")
    cluster.wait_up(1, "db", within=30)
    cluster.wait_up(3, "web", within=30)
    cluster.wait_up(2, "live", within=30)


def test_the_site(cluster):
    """Pages, sessions, forms, files, events and WebSockets, whichever instance answers."""
    up(cluster)
    browser = Browser()
    answered = {re.search(r"Instance (\d) .* for the (\d+)\. time", browser.page()).groups() for _ in range(12)}
    assert {int(visit) for _, visit in answered} == set(range(1, 13))  # one session, kept
    assert len({instance for instance, _ in answered}) > 1             # over several instances
    style = get(PORT, "/static/notes.css")
    assert style.headers["Content-Type"].startswith("text/css") and b"system-ui" in style.body
    assert get(PORT, "/static/notes.css", **{"If-None-Match": style.headers["ETag"]}).status == 304
    assert get(PORT, "/static/../notes/settings.py").status in (400, 404)

    with Events(PORT, "/live/events") as one, Events(PORT, "/live/events") as two:
        for number in range(5):
            browser.write(f"note {number} <&>")
            assert one.next() == two.next() == f"note {number} <&>"
        # PostgreSQL listens long before it serves; Django's connections wait until it does.
        before = cluster.pid(1, "db")
        os.kill(before, signal.SIGKILL)
        for _ in range(20):
            assert get(PORT, "/api/notes", timeout=30).status == 200
        cluster.wait_restarted(1, before, "db", within=30)
        assert "note 4 &lt;&amp;&gt;" in browser.page()
        cluster.wait(lambda: all_listen(cluster), 10, "both instances to listen again")
        browser.write("after the crash")
        assert one.next() == two.next() == "after the crash"

    talks = [WebSocket(PORT, path="/live/talk") for _ in range(4)]
    talks[0].send("hello, all")
    assert {talk.receive() for talk in talks} == {"hello, all"}
    for talk in talks:
        talk.close()


def all_listen(cluster):
    addresses = [instance["address"] for instance in cluster.instances("live").values()]
    return all(get(8001, "/live/healthz", host=address).status == 200 for address in addresses)


def test_restarts_and_deaths_are_not_noticed(cluster):
    up(cluster)
    before = {number: instance["pid"] for number, instance in cluster.instances("web").items()}
    with Visitors(PORT, "/whoami") as load, Visitors(PORT, "/api/notes", 2) as readers:
        load.meet(cluster, "1", "2", "3")
        cluster.command("restart", "web", timeout=60)
        for number, pid in before.items():
            cluster.wait_restarted(number, pid, "web", within=30)
        load.meet(cluster, "1", "2", "3")
        assert load.cut == readers.cut == 0
        master = cluster.pid(2, "web")
        kill_busy(cluster, [load, readers], master, *children(master))
        cluster.wait_restarted(2, master, "web", within=30)
        load.meet(cluster, "2")
        os.kill(children(cluster.pid(3, "web"))[0], signal.SIGKILL)  # gunicorn makes a new one
        load.meet(cluster, "3")
        load.more(cluster, 50)
        readers.more(cluster, 20)
    assert not load.failed and not readers.failed
    # gunicorn sends heads and bodies apart: each of the killed workers may have been between them.
    assert load.cut + readers.cut <= 3
