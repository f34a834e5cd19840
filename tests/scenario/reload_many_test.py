"""A hundred changes of configuration, with connections of all kinds open: none is cut, and nothing
grows."""

import re
import socket
import threading
import time
from pathlib import Path

from harness import clients
from reload_test import Load, reload, web

CHANGES = 100
WEBSOCKETS = 1000
SESSIONS = 1000


def memory(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


class Upgraded:
    """Connections that a GET with `Upgrade` has turned into something else, which the server echoes."""

    def __init__(self, port, count):
        self.connections = []
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), 10)
            connection.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                               b"Upgrade: echo\r\n\r\n")
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            assert head.startswith(b"HTTP/1.1 101"), head
            self.connections.append(connection)

    def alive(self):
        for number, connection in enumerate(self.connections):
            word = f"word {number}".encode()
            connection.sendall(word)
            assert connection.recv(4096) == word
        return len(self.connections)

    def close(self):
        for connection in self.connections:
            connection.close()


ECHO = """
import asyncio, os

async def serve(reader, writer):
    try:
        head = await reader.readuntil(b"\\r\\n\\r\\n")
    except asyncio.IncompleteReadError:
        return writer.close()
    if b"upgrade: echo" not in head.lower():
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\nConnection: close\\r\\n\\r\\nok\\n")
        return writer.close()
    writer.write(b"HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n")
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", 8500, backlog=1024)
    await server.serve_forever()

asyncio.run(main())
"""


def test_a_hundred_changes(cluster, programs):
    echo = cluster.file("echo.py", ECHO)
    base = f"""
        service echo {{ run /usr/bin/python3 {echo}; port 8500; instances 2; }}
        service udp {{ run {programs.python("echo_udp")}; env WHO=$instance; port 4000 udp; }}
        {web(programs, "web", 8401)}
        listen 8080 http {{ route /echo -> echo; %s }}
        listen 8081 tcp -> web path=relay;
        listen 4001 udp -> udp port=4000 idle=10m;
        """
    cluster.up(base % "route / -> web;")
    for name, count in (("echo", 2), ("udp", 1), ("web", 1)):
        cluster.wait_up(count, name)
    upgraded = Upgraded(8080, WEBSOCKETS)
    sessions = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SESSIONS)]

    def datagrams():
        for number, session in enumerate(sessions):
            session.settimeout(5)
            session.sendto(b"x%d" % number, ("127.0.0.1", 4001))
            assert session.recv(2048).endswith(b"x%d" % number)

    datagrams()
    pids = (cluster.supervisor(), cluster.status()["gateway_pid"])
    with Load(8080, threads=2) as load:
        for turn in range(CHANGES):
            more = [f"service s{turn % 7} {{ run sleep 1000; port none; }}"] if turn % 3 == 0 else []
            if turn % 2:
                more.append(f"listen {9000 + turn} http -> web;")
            routes = f"route /v{turn} -> web; route / -> web;"
            reload(cluster, base % routes + "\n".join(more))
            if turn == 20:
                before = [memory(pid) for pid in pids]
    assert not load.failed and load.done > 100, load.failed[:3]
    assert upgraded.alive() == WEBSOCKETS
    datagrams()
    assert cluster.status()["generation"] == CHANGES + 1
    for was, pid in zip(before, pids):
        assert memory(pid) <= was * 1.1 + 1024, f"{was} KiB, now {memory(pid)}"
    upgraded.close()
