"""What Python's application servers run: "WHO PID" for everything. /sleep?SECONDS takes that long."""

import asyncio
import os
import time

WHO = os.environ.get("WHO", "-")


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/sleep":
        time.sleep(float(environ["QUERY_STRING"]))
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{WHO} {os.getpid()}\n".encode()]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/sleep":
        await asyncio.sleep(float(scope["query_string"]))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": f"{WHO} {os.getpid()}\n".encode()})
