"""An HTTPS server on port 8443 as Python's documentation makes it: the socket that is wrapped listens
already. CERTIFICATE and KEY are files; DELAY seconds pass between listening and wrapping."""

import http.server
import os
import ssl
import time


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.environ.get('WHO', '-')} {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.environ["CERTIFICATE"], os.environ["KEY"])
server = http.server.ThreadingHTTPServer(("", 8443), Handler)
time.sleep(float(os.environ.get("DELAY", "0")))
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
