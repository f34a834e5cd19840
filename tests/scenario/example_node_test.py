"""examples/node: Express with sessions in Redis, WebSockets with a sticky cookie, node's cluster module;
each restarted and killed while people are using the site."""

import http.client
import json
import os
import signal

from harness.examples import Events, Visitors, kill_busy, start
from harness.origins import get
from harness.processes import children
from harness.websocket import WebSocket

PORT = 8080


def up(cluster):
    folder = start(cluster, "node")
    cluster.wait_up(1, "memory", within=20)
    for name, count in (("shop", 3), ("chat", 2), ("sums", 2)):
        cluster.wait_up(count, name, within=20)
    return folder


def basket(method, cookie=None):
    answer = get(PORT, "/basket", method, **({"Cookie": cookie} if cookie else {}))
    assert answer.status == 200, answer.body
    return json.loads(answer.body), (answer.headers["Set-Cookie"] or "").partition(";")[0]


def test_sessions_are_shared(cluster):
    up(cluster)
    _, cookie = basket("POST")
    told = [basket("POST", cookie)[0] for _ in range(11)]
    assert [one["apples"] for one in told] == list(range(2, 13))
    assert len({one["instance"] for one in told}) > 1 and {one["client"] for one in told} == {"127.0.0.1"}
    assert basket("GET")[0]["apples"] == 0  # somebody else
    assert b"<h1>Apples</h1>" in get(PORT, "/").body and get(PORT, "/public/page.html").status == 200
    # Redis dies; what it held is there again when it is back.
    redis = cluster.pid(1, "memory")
    os.kill(redis, signal.SIGKILL)
    cluster.wait_restarted(1, redis, "memory")
    cluster.wait(lambda: basket("GET", cookie)[0]["apples"] == 12, 10, "the basket to be there again")


def test_events_and_the_chat_over_instances(cluster):
    folder = up(cluster)
    with Events(PORT, "/events") as one, Events(PORT, "/events") as two, Events(PORT, "/events") as three:
        for _ in range(20):
            basket("POST")  # each is told before the next: nothing is held back
            assert {stream.next() for stream in (one, two, three)} == {"an apple for 127.0.0.1"}
        # A reload of another part of the file cuts no stream.
        text = (folder / "enginx.conf").read_text()
        (folder / "enginx.conf").write_text(text.replace("max-age=60", "max-age=90"))
        cluster.command("reload", folder / "enginx.conf")
        assert get(PORT, "/public/page.html").headers["Cache-Control"] == "max-age=90"
        basket("POST")
        assert {stream.next() for stream in (one, two, three)} == {"an apple for 127.0.0.1"}

    talks = [WebSocket(PORT, path="/chat") for _ in range(6)]
    homes = [talk.receive() for talk in talks]
    assert set(homes) == {"you are with instance 1", "you are with instance 2"}
    talks[0].send("hello, all")
    assert {talk.receive() for talk in talks} == {"hello, all"}
    for talk in talks:
        talk.close()
    cookie = get(PORT, "/chat").headers["Set-Cookie"].partition(";")[0]
    assert len({greeting(cookie) for _ in range(6)}) == 1


def greeting(cookie):
    connection = WebSocket(PORT, path="/chat", fields={"Cookie": cookie})
    text = connection.receive()
    connection.close()
    return text


def test_restarts_and_deaths_are_not_noticed(cluster):
    up(cluster)
    shop = {number: instance["pid"] for number, instance in cluster.instances("shop").items()}
    sums = {number: instance["pid"] for number, instance in cluster.instances("sums").items()}
    with Visitors(PORT, "/whoami") as load, Visitors(PORT, "/sum/1000", 2) as adders, \
            Visitors(PORT, "/basket", 2) as customers:
        load.meet(cluster, "1", "2", "3")
        adders.meet(cluster, "1", "2")
        everybody = [load, adders, customers]
        cluster.command("restart", "shop", timeout=60)
        cluster.command("restart", "sums", timeout=60)
        for name, before in (("shop", shop), ("sums", sums)):
            for number, pid in before.items():
                cluster.wait_restarted(number, pid, name, within=20)
        load.meet(cluster, "1", "2", "3")
        dying = cluster.pid(2, "shop")
        kill_busy(cluster, everybody, dying)
        cluster.wait_restarted(2, dying, "shop")
        load.meet(cluster, "2")
        os.kill(children(cluster.pid(1, "sums"))[0], signal.SIGKILL)  # the cluster module makes another
        adders.meet(cluster, "1", "2")
        dying = cluster.pid(2, "sums")
        kill_busy(cluster, everybody, dying, *children(dying))
        cluster.wait_restarted(2, dying, "sums")
        adders.meet(cluster, "1", "2")
        customers.more(cluster, 20)
    for visitors in everybody:
        assert not visitors.failed and visitors.cut == 0
