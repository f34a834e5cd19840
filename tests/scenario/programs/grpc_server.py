"""A gRPC server whose messages are plain bytes: calls of each kind, and grpc.health.v1's Check.
PORT, WHO; a file named by HEALTH makes Check say NOT_SERVING; CERTIFICATE and KEY: TLS."""

import os
import signal
import threading
import time
from concurrent import futures

import grpc

WHO = os.environ.get("WHO", "?")


def unary(request, context):
    context.set_trailing_metadata((("who", WHO),))
    if request.startswith(b"fail"):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as was asked for")
    if request.startswith(b"sleep"):
        time.sleep(float(request.split()[1]))
    metadata = dict(context.invocation_metadata())
    return WHO.encode() + b" " + request + b" " + metadata.get("x-tag", "").encode()


def downstream(request, context):
    count, size = map(int, request.split())
    for number in range(count):
        yield bytes([number % 256]) * size


def upstream(requests, context):
    count = total = 0
    for request in requests:
        count, total = count + 1, total + len(request)
    return f"{count} {total}".encode()


def both(requests, context):
    for request in requests:
        yield WHO.encode() + b" " + request


def check(request, context):
    """0x0a, length, name → 0x08, status."""
    if request[2:] not in (b"", b"test.Echo"):
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    ill = os.path.exists(os.environ.get("HEALTH", ""))
    return b"\x08\x02" if ill else b"\x08\x01"


class Handlers(grpc.GenericRpcHandler):
    methods = {
        "/test.Echo/Unary": grpc.unary_unary_rpc_method_handler(unary),
        "/test.Echo/Downstream": grpc.unary_stream_rpc_method_handler(downstream),
        "/test.Echo/Upstream": grpc.stream_unary_rpc_method_handler(upstream),
        "/test.Echo/Both": grpc.stream_stream_rpc_method_handler(both),
        "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(check),
    }

    def service(self, details):
        return self.methods.get(details.method)


server = grpc.server(futures.ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers([Handlers()])
address = f"{os.environ.get('ADDRESS', '127.0.0.1')}:{os.environ['PORT']}"
if "CERTIFICATE" in os.environ:
    pair = [open(os.environ[name], "rb").read() for name in ("KEY", "CERTIFICATE")]
    server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
else:
    server.add_insecure_port(address)
server.start()
ending = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ending.set())
ending.wait()
server.stop(5).wait()
