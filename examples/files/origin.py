"""The origin of all files, on port 8001: each is made anew when it is asked for, which takes a while. /asked tells how
often that was, ?wait=SECONDS makes it take longer."""

import asyncio
import collections
import json
import urllib.parse

asked = collections.Counter()


async def make(target):
    path, _, query = target.partition("?")
    if path == "/asked":
        return json.dumps(asked).encode(), "no-store"
    asked[path] += 1
    await asyncio.sleep(float(urllib.parse.parse_qs(query).get("wait", ["0.05"])[0]))
    return f"{path}\n".encode() * 1000, "max-age=3600"


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            body, control = await make(head.split(" ", 2)[1])
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: {control}\r\n"
                         f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", 8001)
    async with server:
        await server.serve_forever()


asyncio.run(main())
