"""A gRPC client whose messages are plain bytes: `grpc_client.py TARGET KIND ARGUMENTS`, where TARGET
may be tls:NAME:PORT with CA in the environment; prints JSON."""

import collections
import json
import os
import sys
import threading
import time

import grpc

target, kind, *arguments = sys.argv[1:]
options = [("grpc.enable_retries", 0)]
if target.startswith("tls:"):
    _, name, port = target.split(":")
    credentials = grpc.ssl_channel_credentials(open(os.environ["CA"], "rb").read())
    channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials,
                                  options + [("grpc.ssl_target_name_override", name)])
else:
    channel = grpc.insecure_channel(target, options)


def call(name, *given, **more):
    """(code, reply, details)"""
    try:
        reply, done = getattr(channel, "unary_unary")(f"/test.Echo/{name}").with_call(*given, **more)
        return "OK", reply.decode(), dict(done.trailing_metadata())
    except grpc.RpcError as error:
        return error.code().name, None, error.details()


def unary(text, timeout="30"):
    return call("Unary", text.encode(), timeout=float(timeout), metadata=(("x-tag", "tagged"),))


def method(name):
    return call(name, b"x", timeout=10)


def downstream(count, size):
    replies = channel.unary_stream("/test.Echo/Downstream")(f"{count} {size}".encode(), timeout=60)
    lengths = [len(reply) for reply in replies]
    return len(lengths), sum(lengths), replies.code().name


def upstream(count, size):
    pieces = (b"u" * int(size) for _ in range(int(count)))
    return channel.stream_unary("/test.Echo/Upstream")(pieces, timeout=60).decode()


def both(count):
    """Each message is answered before the next one is sent, on one stream."""
    ready, queue = threading.Condition(), collections.deque()

    def messages():
        while True:
            with ready:
                ready.wait_for(lambda: queue)
                message = queue.popleft()
            if message is None:
                return
            yield message

    def say(message):
        with ready:
            queue.append(message)
            ready.notify()

    replies = channel.stream_stream("/test.Echo/Both")(messages(), timeout=60)
    heard = []
    for number in range(int(count)):
        say(str(number).encode())
        heard.append(next(replies).decode())
    say(None)
    return heard, list(replies) == [], replies.code().name


def cut(seconds):
    """A stream that is on its way when the instance dies."""
    replies = channel.stream_stream("/test.Echo/Both")(iter_one(float(seconds)), timeout=60)
    heard = []
    try:
        for reply in replies:
            heard.append(reply.decode())
            print(json.dumps(heard), flush=True)
    except grpc.RpcError as error:
        return heard, error.code().name
    return heard, "OK"


def iter_one(seconds):
    yield b"one"
    time.sleep(seconds)


def load(seconds, threads="8", pause="0"):
    """Calls for so long: how many ended how, and who answered them."""
    until, codes, by = time.time() + float(seconds), collections.Counter(), collections.Counter()

    def go():
        while time.time() < until:
            code, reply, details = call("Unary", b"x", timeout=20)
            codes[code if code == "OK" else f"{code}: {details}"] += 1
            if reply:
                by[reply.split()[0]] += 1
            time.sleep(float(pause))

    running = [threading.Thread(target=go) for _ in range(int(threads))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return codes, by


print(json.dumps(globals()[kind](*arguments)), flush=True)
