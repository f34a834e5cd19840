"""Many changes of the configuration while a thousand WebSockets and a thousand UDP sessions are open
and requests never stop: none is cut, none fails, and memory is what it was.

Ten changes here; CHANGES=100 makes it the long version."""

import http.client
import os
import threading
import time

import pytest

from harness import clients
from harness.clients import Load, ask_udp
from harness.websocket import WebSocket
from udp_relay_test import udp

CHANGES = int(os.environ.get("CHANGES", "10"))
WARM = 8
HTTP, UDP, MORE = 8080, 4500, 9000


class Kept:
    """Requests over one connection that is never to end. What went wrong is in `failed`."""

    def __init__(self, port):
        self.port, self.failed, self.done, self.over = port, [], 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.connect()
        first = connection.sock
        while not self.over.wait(0.002):
            try:
                connection.request("POST", "/whoami", headers={"Content-Length": "0"})
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200 and connection.sock is first
                self.done += 1
            except Exception as error:  # noqa: whatever it is, it is told
                self.failed.append(repr(error))
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def site(programs, number):
    """A bit of everything that can change but for what the sessions need. Names come again: what is
    counted for each route ever named stays (up to a bound)."""
    hosts = "".join(f'host h{number % 5}x{host}.example {{ route /a -> web; route /b {{ respond 200 "b"; }} }}'
                    for host in range(number % 5 * 20))
    extra = f"service extra{number} {{ at 127.0.0.1:9; }}" if number % 2 else ""
    listen = f"listen {MORE + 1 + number % 3} http {{ respond 204; }}" if number % 4 else ""
    return f"""
        service chat {{ run node {programs.path("websocket.js")}; port 8100; instances 2;
                        env WHO=$instance NODE_PATH=/usr/share/nodejs; }}
        service echo {{ run {programs.built("echo_udp")}; env WHO=$instance; instances 3; }}
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2;
                       retry tries={1 + number % 3}; timeout response={30 + number}s; }}
        {extra} {listen}
        listen {UDP} udp -> echo port=4001 path=relay idle=10m;
        listen {MORE} http {{ respond 200 "change {number}"; }}
        listen {HTTP} http {{
            bounds header={32 + number % 2}k;
            {hosts}
            route /chat -> chat;
            route /{number % 7} {{ respond 200 "{number}"; }}
            route / -> web;
        }}"""


def memory(pid):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10


def change(cluster, programs, number):
    cluster.configure(site(programs, number))
    cluster.command("reload", timeout=60)
    cluster.wait(lambda: (clients.answer(MORE, path="/") or "").strip() == f"change {number}", 10, "the change")


def test_changes_under_everything(cluster, programs, record_property):
    cluster.up(site(programs, 0))
    for name, instances in (("chat", 2), ("echo", 3), ("web", 2)):
        cluster.wait_up(instances, name)
    sockets = [WebSocket(HTTP, path="/chat") for _ in range(1000)]
    sessions = [udp() for _ in range(1000)]
    homes = [socket.ask("who") for socket in sockets]
    places = [ask_udp(UDP, client=client) for client in sessions]
    gateway = cluster.status()["gateway_pid"]
    with Load(HTTP, workers=3) as load, Kept(HTTP) as kept:
        load.wait_more(200)
        for number in range(1, WARM):  # what is made once, and stays
            change(cluster, programs, number)
        before = memory(gateway)
        for number in range(WARM, WARM + CHANGES):
            change(cluster, programs, number)
            for socket in sockets[number % 20::20]:
                assert socket.ask(f"{number}") == f"{number}"
            for client, place in list(zip(sessions, places))[number % 20::20]:
                assert ask_udp(UDP, client=client) == place
        load.wait_more(100)
        change(cluster, programs, 0)
        after = memory(gateway)
    assert load.refused == 0 and not load.failed, load.failed[:3]
    assert kept.done and not kept.failed, kept.failed
    assert [socket.ask("who") for socket in sockets] == homes, "a WebSocket was cut"
    assert [ask_udp(UDP, client=client) for client in sessions] == places
    assert cluster.status()["gateway_pid"] == gateway
    print(f"{CHANGES} changes, {load.done + kept.done} requests; memory {before >> 10} KiB, then {after >> 10} KiB")
    record_property("memory", f"{before} {after}")
    assert after < 1.1 * before
    for one in sockets + sessions:
        one.close()
