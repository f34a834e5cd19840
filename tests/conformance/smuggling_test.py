"""Request smuggling: what two servers could cut into requests differently goes through enginx to real
origins that do disagree with each other (nginx, node, python). Whatever enginx makes of the bytes, each
origin must have seen exactly the requests that enginx says it has passed on, in their order, with the
same bodies: no boundary ever differs. A payload whose hidden request reaches an origin without enginx
knowing of it would show as one request too many."""

import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from client import Client
from harness.clients import refused
from harness.cluster import Account, Cluster
from harness.network import Network
from harness.processes import wait_for

PORT = 8080
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"

NODE = """
const http = require('http');
http.createServer({insecureHTTPParser: true}, (req, res) => {
  let length = 0;
  req.on('data', piece => length += piece.length);
  req.on('end', () => { require('fs').appendFileSync(process.env.SEEN, `${req.method} ${req.url} ${length}\\n`);
                        res.end('ok'); });
  req.on('error', () => {});
}).listen(9000);
"""

PYTHON = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def serve(self):
        length = 0
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while (size := int(self.rfile.readline().split(b";")[0], 16)):
                length += len(self.rfile.read(size)); self.rfile.readline()
            while self.rfile.readline().strip(): pass
        else:
            length = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        with open(os.environ["SEEN"], "a") as seen:
            seen.write(f"{self.command} {self.path} {length}\\n")
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def __getattr__(self, name):
        if name.startswith("do_"): return self.serve
        raise AttributeError(name)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 9000), Handler).serve_forever()
"""

NGINX = """
daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log crit;
events { worker_connections 64; }
http { client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  log_format seen '$request_method $request_uri $request_length $content_length';
  access_log SEEN seen; merge_slashes off;
  server { listen 127.0.0.1:9000; location / { client_max_body_size 1m; return 200 ok; } } }
"""

CHUNKED = b"Transfer-Encoding: chunked\r\n"


def post(*fields, body=b"", target=b"/visible", version=b"HTTP/1.1"):
    return b"POST " + target + b" " + version + b"\r\nHost: h\r\n" + b"".join(fields) + b"\r\n" + body


CORPUS = {
    # both lengths: who believes which?
    "CL.TE": post(b"Content-Length: %d\r\n" % (5 + len(HIDDEN)), CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "TE.CL": post(CHUNKED, b"Content-Length: 4\r\n", body=b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n"),
    # one transfer coding that not all recognise
    "TE.TE x": post(b"Transfer-Encoding: xchunked\r\n", b"Content-Length: 4\r\n", body=b"1\r\nZ\r\nQ" + HIDDEN),
    "TE.TE space before colon": post(b"Transfer-Encoding : chunked\r\n", b"Content-Length: 5\r\n",
                                     body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE tab": post(b"Transfer-Encoding:\tchunked\r\n", b"Content-Length: 5\r\n", body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE vertical tab": post(b"Transfer-Encoding:\x0bchunked\r\n", b"Content-Length: 5\r\n",
                               body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE two fields": post(CHUNKED, b"Transfer-Encoding: x\r\n", b"Content-Length: 5\r\n",
                             body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE two fields the other way": post(b"Transfer-Encoding: x\r\n", CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE identity": post(b"Transfer-Encoding: identity\r\n", b"Content-Length: 5\r\n", body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE quoted": post(b'Transfer-Encoding: "chunked"\r\n', b"Content-Length: 5\r\n", body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE folded": post(b"Transfer-Encoding:\r\n chunked\r\n", b"Content-Length: 5\r\n", body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE behind a fold": post(b"X: a\r\n Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n",
                                body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE behind a bare LF": post(b"X: a\nTransfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n",
                                   body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE behind a bare CR": post(b"X: a\rTransfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n",
                                   body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE with a parameter": post(b"Transfer-Encoding: chunked;q=1\r\n", b"Content-Length: 5\r\n",
                                   body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE a trailing comma": post(b"Transfer-Encoding: chunked,\r\n", body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE a leading comma": post(b"Transfer-Encoding: ,chunked\r\n", body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE NUL": post(b"Transfer-Encoding: chunked\x00\r\n", b"Content-Length: 5\r\n", body=b"0\r\n\r\n" + HIDDEN),
    "TE.TE underscore": post(b"Transfer_Encoding: chunked\r\n", b"Content-Length: 5\r\n", body=b"0\r\n\r\n" + HIDDEN),
    "TE of HTTP/1.0": post(CHUNKED, body=b"0\r\n\r\n" + HIDDEN, version=b"HTTP/1.0"),
    # lengths
    "CL.0": post(b"Content-Length: %d\r\n" % len(HIDDEN), body=HIDDEN),
    "CL.0 on a GET": b"GET /visible HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "CL.CL": post(b"Content-Length: 0\r\n", b"Content-Length: %d\r\n" % len(HIDDEN), body=HIDDEN),
    "CL.CL equal": post(b"Content-Length: 2\r\n", b"Content-Length: 2\r\n", body=b"ab" + HIDDEN),
    "CL a list": post(b"Content-Length: 2, 2\r\n", body=b"ab" + HIDDEN),
    "CL plus": post(b"Content-Length: +2\r\n", body=b"ab" + HIDDEN),
    "CL minus": post(b"Content-Length: -2\r\n", body=b"ab" + HIDDEN),
    "CL zeros in front": post(b"Content-Length: 0002\r\n", body=b"ab" + HIDDEN),
    "CL octal or decimal": post(b"Content-Length: 010\r\n", body=b"abcdefghij" + HIDDEN),
    "CL hexadecimal": post(b"Content-Length: 0x2\r\n", body=b"ab" + HIDDEN),
    "CL a space within": post(b"Content-Length: 0 2\r\n", body=b"ab" + HIDDEN),
    "CL behind a space": post(b"Content-Length : 2\r\n", body=b"ab" + HIDDEN),
    "CL letters behind": post(b"Content-Length: 2a\r\n", body=b"ab" + HIDDEN),
    "CL empty": post(b"Content-Length:\r\n", body=HIDDEN),
    "CL a NUL behind": post(b"Content-Length: 2\x00\r\n", body=b"ab" + HIDDEN),
    "CL underscore": post(b"Content_Length: %d\r\n" % len(HIDDEN), body=HIDDEN),
    "CL in odd case": post(b"cOnTeNt-LeNgTh: 2\r\n", body=b"ab" + HIDDEN),
    "CL overflow": post(b"Content-Length: 18446744073709551618\r\n", body=b"ab" + HIDDEN),
    # chunks
    "chunk extension": post(CHUNKED, body=b"2;a=b\r\nab\r\n0\r\n\r\n" + HIDDEN),
    "chunk extension with a LF": post(CHUNKED, body=b"2;a\nab\r\n0\r\n\r\n" + HIDDEN),
    "chunk extension with a CR": post(CHUNKED, body=b"2;a\rX\r\nab\r\n0\r\n\r\n" + HIDDEN),
    "chunk extension quoted": post(CHUNKED, body=b'2;a="\r\nab\r\n0\r\n\r\n' + HIDDEN),
    "chunk size LF": post(CHUNKED, body=b"2\nab\n0\n\n" + HIDDEN),
    "chunk size 0x": post(CHUNKED, body=b"0x2\r\nab\r\n0\r\n\r\n" + HIDDEN),
    "chunk size zeros": post(CHUNKED, body=b"0000000000000002\r\nab\r\n0\r\n\r\n" + HIDDEN),
    "chunk size many zeros": post(CHUNKED, body=b"0" * 40 + b"2\r\nab\r\n0\r\n\r\n" + HIDDEN),
    "chunk size overflow": post(CHUNKED, body=b"10000000000000002\r\nab\r\n0\r\n\r\n" + HIDDEN),
    "chunk size space": post(CHUNKED, body=b"2 \r\nab\r\n0\r\n\r\n" + HIDDEN),
    "chunk size underscore": post(CHUNKED, body=b"1_0\r\nabcdefghijklmnop\r\n0\r\n\r\n" + HIDDEN),
    "chunk without its CRLF": post(CHUNKED, body=b"2\r\nab0\r\n\r\n" + HIDDEN),
    "chunk data longer": post(CHUNKED, body=b"2\r\nabXX0\r\n\r\n" + HIDDEN),
    "last chunk twice": post(CHUNKED, body=b"0\r\n\r\n0\r\n\r\n" + HIDDEN),
    "trailer that is a request": post(CHUNKED, body=b"0\r\n" + HIDDEN),
    "trailer with a length": post(CHUNKED, body=b"0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN),
    # the target and Host
    "absolute against Host": b"GET http://other/visible HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
    "absolute with a bad scheme": b"GET gopher://h/visible HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
    "a line in the target": b"GET /visible%0d%0aHost:x HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
    "a raw line in the target": b"GET /visible\r\nX: y HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
    "obs-text in the target": b"GET /visible\xff HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
    "obs-text in a name": b"GET /visible HTTP/1.1\r\nHost: h\r\nX\xff: y\r\n\r\n" + HIDDEN,
    "two Hosts": b"GET /visible HTTP/1.1\r\nHost: h\r\nHost: g\r\n\r\n" + HIDDEN,
    "version without number": b"GET /visible HTTP/1.\r\nHost: h\r\n\r\n" + HIDDEN,
    "version 1.9": b"GET /visible HTTP/1.9\r\nHost: h\r\n\r\n" + HIDDEN,
    "HTTP/0.9": b"GET /visible\r\n" + HIDDEN,
    # connections
    "Connection takes the length away": post(b"Content-Length: %d\r\n" % len(HIDDEN),
                                             b"Connection: Content-Length\r\n", body=HIDDEN),
    "Connection takes the coding away": post(CHUNKED, b"Connection: Transfer-Encoding\r\n",
                                             body=b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n"),
    "Expect and a body at once": post(b"Expect: 100-continue\r\n", b"Content-Length: %d\r\n" % len(HIDDEN),
                                      body=HIDDEN),
    "Upgrade to h2c": b"GET /visible HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                      b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" + HIDDEN,
    "Upgrade to a WebSocket that is declined": b"GET /visible HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
                                               b"Connection: Upgrade\r\nSec-WebSocket-Version: 1\r\n\r\n" + HIDDEN,
    "pipelined, all well": b"GET /visible HTTP/1.1\r\nHost: h\r\n\r\n" + HIDDEN,
}


class Origin:
    """A real server that writes a line for each request that it sees."""

    def __init__(self, name, directory):
        self.name, self.seen = name, directory / "seen.txt"
        self.seen.touch()
        commands = {"node": ["node", "-e", NODE], "python": ["/usr/bin/python3", "-c", PYTHON]}
        if name == "nginx":
            (directory / "nginx.conf").write_text(NGINX.replace("SEEN", str(self.seen)))
            commands["nginx"] = ["nginx", "-c", str(directory / "nginx.conf"), "-p", str(directory)]
        self.process = subprocess.Popen(commands[name], env={"SEEN": str(self.seen), "PATH": "/usr/sbin:/usr/bin:/bin:/usr/local/bin"})
        wait_for(lambda: not refused(9000), 10, f"{name} to listen")

    def requests(self):
        """(method, target) of each, in order."""
        return [tuple(line.split()[:2]) for line in self.seen.read_text(errors="replace").splitlines()]

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module", params=["nginx", "node", "python"])
def between(request, place, binary):
    """(enginx, origin, path of the access log)"""
    if not shutil.which(request.param.replace("python", "python3")):
        pytest.skip(f"{request.param} is not installed")
    network = Network()
    directory = Path(tempfile.mkdtemp(prefix="smuggling-", dir=place))
    directory.chmod(0o755)
    elsewhere = Path(tempfile.mkdtemp(prefix="origin-", dir=place))  # no process of the cluster's
    with network.inside():
        origin = Origin(request.param, elsewhere)
        cluster = Cluster(binary, directory, Account("root"), network)
        cluster.up(f"""
            log directory={directory}/logs;
            service origin {{ at 127.0.0.1:9000; timeout response=2s; retry tries=0; }}
            listen 127.0.0.1:{PORT} http {{ timeout header=1s body=1s; access-log json; route / -> origin; }}
        """)
        try:
            wait_for(lambda: not refused(PORT), 10, "the gateway to listen")
            yield cluster, origin, directory / "logs" / "access.log"
        finally:
            cluster.end()
            origin.close()
    network.close()


def logged(path):
    """What enginx says of each request: its log's lines."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(errors="replace").splitlines() if line.startswith("{")]


def passed_on(lines):
    return [(line["method"], line["uri"]) for line in lines if line.get("instance")]


def settled(read, enough, within=5.0, quiet=0.3):
    """Until what `read` gives is enough, and has not changed for a moment."""
    until, last, since = time.monotonic() + within, read(), time.monotonic()
    while time.monotonic() < until and (time.monotonic() - since < quiet or not enough(last)):
        time.sleep(0.05)
        now = read()
        if now != last:
            last, since = now, time.monotonic()
    return last


@pytest.mark.parametrize("name", CORPUS)
def test_no_boundary_differs(between, name):
    _, origin, log = between
    before, logged_before = len(origin.requests()), len(logged(log))
    with Client(PORT, timeout=4) as client:
        client.send(CORPUS[name])
        client.socket.shutdown(socket.SHUT_WR)
        answered = client.until_end()
    answers = answered.count(b"HTTP/1.1 ") - answered.count(b"HTTP/1.1 100 ")
    # A busy machine may write the log's lines and run the origin long after the answer.
    seen, lines = settled(lambda: (origin.requests()[before:], logged(log)[logged_before:]),
                          lambda now: answers <= len(now[1]) and len(now[0]) <= len(passed_on(now[1])))
    assert answered.startswith(b"HTTP/1.1 "), answered[:100]
    # An origin may be asked and hang up, or refuse before it counts; it must never see more.
    told = passed_on(lines)
    assert len(seen) <= len(told), (seen, told)
    assert [one for one in told if one in seen][:len(seen)] == seen or seen == told[:len(seen)], (seen, told)
    if ("GET", "/hidden") in seen:
        assert ("GET", "/hidden") in told, "an origin saw a request that enginx knows nothing of"
    assert answers <= len(lines), "an answer to nothing"
