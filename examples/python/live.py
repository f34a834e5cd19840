"""An ASGI program: /live/events tells of new notes (server-sent events), /live/talk is a WebSocket on
which all hear what one says. Both go over PostgreSQL's NOTIFY, so it does not matter which instance a
browser is with."""

import asyncio
import os

import psycopg2

RECONNECT_SECONDS = 0.2
TEXT_MAX = 2000  # PostgreSQL takes 8,000 bytes
listeners = {"notes": set(), "talk": set()}
database = None


async def listen():
    """Keeps one connection, and hands on what it tells."""
    global database
    loop = asyncio.get_running_loop()
    while True:
        try:
            made = await asyncio.to_thread(psycopg2.connect, "host=127.0.0.1 user=notes dbname=postgres")
            made.autocommit = True
            made.cursor().execute("listen notes; listen talk")
            number, broken = made.fileno(), asyncio.Event()
            loop.add_reader(number, hand_on, made, broken)
            database = made
            await broken.wait()
            loop.remove_reader(number)
        except psycopg2.Error:
            pass
        database = None
        await asyncio.sleep(RECONNECT_SECONDS)


def hand_on(connection, broken):
    try:
        connection.poll()
    except psycopg2.Error:
        broken.set()
        return
    tell(connection)


def tell(connection):
    while connection.notifies:
        told = connection.notifies.pop(0)
        for queue in listeners[told.channel]:
            queue.put_nowait(told.payload)


async def answer(send, status, text):
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode()})


async def events(receive, send):
    queue = asyncio.Queue()
    listeners["notes"].add(queue)
    left = asyncio.ensure_future(disconnected(receive))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [
            (b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]})
        await send({"type": "http.response.body", "body": b": welcome\n\n", "more_body": True})
        while True:
            told = asyncio.ensure_future(queue.get())
            await asyncio.wait({told, left}, return_when=asyncio.FIRST_COMPLETED)
            if left.done():
                told.cancel()
                return
            lines = "".join(f"data: {line}\n" for line in told.result().splitlines())
            await send({"type": "http.response.body", "body": f"{lines}\n".encode(), "more_body": True})
    finally:
        left.cancel()
        listeners["notes"].discard(queue)


async def disconnected(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def talk(receive, send):
    queue = asyncio.Queue()

    async def speak():
        while True:
            await send({"type": "websocket.send", "text": await queue.get()})

    listeners["talk"].add(queue)  # first, so that nothing is missed
    await receive()
    await send({"type": "websocket.accept"})
    speaking = asyncio.ensure_future(speak())
    try:
        while (message := await receive())["type"] == "websocket.receive":
            if database and message.get("text"):
                database.cursor().execute("select pg_notify('talk', %s)", [message["text"][:TEXT_MAX]])
                tell(database)  # its own words have come with the answer
    finally:
        speaking.cancel()
        listeners["talk"].discard(queue)


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        listening = asyncio.ensure_future(listen())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        listening.cancel()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await talk(receive, send)
    elif scope["path"] == "/live/events":
        await events(receive, send)
    elif scope["path"] == "/live/healthz":
        await answer(send, 200 if database else 503, "well\n" if database else "no database\n")
    elif scope["path"] == "/live/whoami":
        await answer(send, 200, f"{os.environ.get('ENGINX_NUMBER')} {os.getpid()}\n")
    else:
        await answer(send, 404, "nothing here\n")
