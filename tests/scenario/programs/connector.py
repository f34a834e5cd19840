"""A web server on port 8088 that answers with what a program on its "own" port 8088 at 127.0.0.1
says: enginx leads an instance's connection to its own port back to itself."""

import http.client
import http.server
import os

who = f"{os.environ.get('WHO', '-')} {os.getpid()}\n"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = who
        if self.path == "/self":
            connection = http.client.HTTPConnection("127.0.0.1", 8088, timeout=5)
            connection.request("GET", "/whoami")
            body = who + connection.getresponse().read().decode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", 8088), Handler).serve_forever()
