"""A gRPC server by hand, so that nothing has to be generated: messages are JSON. Prices of apples."""

import json
import os
import signal
import threading
import time
from concurrent import futures

import grpc

INSTANCE = os.environ.get("INSTANCE", "1")


def price(request, context):
    """One question, one answer."""
    asked = json.loads(request)
    return json.dumps({"what": asked["what"], "price": len(asked["what"]), "instance": INSTANCE}).encode()


def watch(request, context):
    """One question, answers for as long as the client listens."""
    asked = json.loads(request)
    for number in range(asked.get("count", 1 << 30)):
        yield json.dumps({"number": number, "instance": INSTANCE}).encode()
        time.sleep(asked.get("every", 1.0))


def haggle(requests, context):
    """Both speak at once: each bid is answered when it comes."""
    for request in requests:
        bid = json.loads(request)["bid"]
        yield json.dumps({"bid": bid, "sold": bid >= 5, "instance": INSTANCE}).encode()


def health(request, context):
    return b"\x08\x01"  # HealthCheckResponse { status: SERVING }


class Handlers(grpc.GenericRpcHandler):
    methods = {
        "/shop.Stock/Price": grpc.unary_unary_rpc_method_handler(price),
        "/shop.Stock/Watch": grpc.unary_stream_rpc_method_handler(watch),
        "/shop.Stock/Haggle": grpc.stream_stream_rpc_method_handler(haggle),
        "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(health),
    }

    def service(self, details):
        return self.methods.get(details.method)


server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers([Handlers()])
server.add_insecure_port("127.0.0.1:50051")
server.start()
print(f"stock {INSTANCE} listens on port 50051", flush=True)
ending = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ending.set())
ending.wait()
server.stop(5).wait()
