"""A chat over WebSockets (RFC 6455) that knows only port 8000: what one says, all of this instance
hear. Of the protocol it has what a browser needs: text in one frame, ping, close."""

import asyncio
import base64
import hashlib
import os
import signal

WHO = os.environ.get("INSTANCE", "?")
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
MESSAGE_BYTES_MAX = 65536
writers = set()


def frame(kind, payload):
    if len(payload) < 126:
        return bytes([0x80 | kind, len(payload)]) + payload
    return bytes([0x80 | kind, 126]) + len(payload).to_bytes(2, "big") + payload


async def read_frame(reader):
    kind, length = await reader.readexactly(2)
    if not length & 0x80:
        raise ValueError("a client's frame must be masked")
    length &= 0x7F
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    if length > 65535 or length == 127:
        raise ValueError("too long")
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(length)
    return kind & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


async def handshake(reader, writer):
    """False: it was a request of another kind."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if fields.get("upgrade", "").lower() != "websocket":
        body = f"chat instance {WHO}\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        return False
    digest = hashlib.sha1((fields["sec-websocket-key"] + GUID).encode()).digest()
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n")
    return True


async def talk(reader, writer):
    writer.write(frame(TEXT, f"you are with instance {WHO}".encode()))
    while True:
        kind, payload = await read_frame(reader)
        if kind == CLOSE:
            writer.write(frame(CLOSE, payload[:2]))
            return
        if kind == PING:
            writer.write(frame(PONG, payload))
        elif kind == TEXT:
            for other in writers:
                other.write(frame(TEXT, payload))


async def serve(reader, writer):
    try:
        if await handshake(reader, writer):
            writers.add(writer)
            await talk(reader, writer)
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, ValueError, KeyError):
        pass
    finally:
        writers.discard(writer)
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", 8000, limit=MESSAGE_BYTES_MAX)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
    print(f"chat instance {WHO} listens on port 8000", flush=True)
    try:
        await server.serve_forever()
    except asyncio.CancelledError:
        pass


asyncio.run(main())
