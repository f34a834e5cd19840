"""A web program that knows only port 8000."""

import http.server
import os
import pathlib
import signal
import sys

WHO = f"python instance {os.environ.get('INSTANCE', '?')}, process {os.getpid()}"
PAGE = (pathlib.Path(__file__).parent / "page.html").read_text()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/whoami":
            body, kind = WHO + "\n", "text/plain"
        else:
            body, kind = PAGE.replace("WHO", WHO), "text/html"
        self.send_response(200)
        self.send_header("Content-Type", kind + "; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        pass  # no line per request


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(f"{WHO} listens on port 8000", flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
