"""A web server on port 8000. What it does besides answering comes from the environment:

BIND             addresses to listen on: "0.0.0.0" (default), "127.0.0.1", "::" (dual), "::only"
WORKERS          listeners of its own on each address, by SO_REUSEPORT (default 1, without it)
START_DELAY      seconds before it listens
PORT             the port, for scenarios that need another one

/whoami   "WHO PID"                     /sleep?SECONDS    answers later
/peer     the client's and our address  /fetch?HOST:PORT  what GET /whoami there says
/healthz  503 while the file HEALTH_FILE exists
/burn?SECONDS    computes for so long
/eat?MIB  keeps that much memory        /fork?N           tries to start N processes; how many it got
"""

import asyncio
import os
import socket
import sys
import time

PORT = int(os.environ.get("PORT", "8000"))
WHO = os.environ.get("WHO", "-")
eaten = []


def listener(address, share):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        only = address.endswith("only")
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    listening.bind((address.removesuffix("only"), PORT))
    listening.listen(1024)
    listening.setblocking(False)
    return listening


async def fetch(target):
    host, _, port = target.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer.decode(errors="replace").partition("\r\n\r\n")[2]
    except OSError as error:
        return f"error: {error}\n"


def fork(wanted):
    children = []
    for _ in range(wanted):
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            time.sleep(30)
            os._exit(0)
        children.append(pid)
    return f"{len(children)}\n"


async def answer(path, writer):
    name, _, argument = path.partition("?")
    if name == "/sleep":
        await asyncio.sleep(float(argument))
    elif name == "/burn":
        until = time.process_time() + float(argument)
        while time.process_time() < until:
            pass
    elif name == "/peer":
        return f"{writer.get_extra_info('peername')[0]} {writer.get_extra_info('sockname')}\n"
    elif name == "/fetch":
        return await fetch(argument)
    elif name == "/eat":
        block = bytearray(int(argument) << 20)
        block[::4096] = b"x" * len(block[::4096])
        eaten.append(block)
    elif name == "/fork":
        return fork(int(argument))
    return f"{WHO} {os.getpid()}\n"


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            body = (await answer(path, writer)).encode()
            ill = path == "/healthz" and os.path.exists(os.environ.get("HEALTH_FILE", "/nowhere"))
            close = b"connection: close" in head.lower()
            writer.write(b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n"
                         % (b"503 Ill" if ill else b"200 OK", len(body), b"Connection: close\r\n" if close else b"") + body)
            await writer.drain()
            if close:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    time.sleep(float(os.environ.get("START_DELAY", "0")))
    workers = int(os.environ.get("WORKERS", "1"))
    for address in os.environ.get("BIND", "0.0.0.0").split():
        for _ in range(workers):
            await asyncio.start_server(serve, sock=listener(address, workers > 1))
    print(f"web {WHO} listens on {PORT}", flush=True)
    await asyncio.Event().wait()


try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(0)
