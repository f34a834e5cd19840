"""Asks for prices: client.py [HOST:PORT]. All calls go over one connection, and meet all instances."""

import collections
import json
import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8080")
price = channel.unary_unary("/shop.Stock/Price")
answers = [json.loads(price(b'{"what": "apple"}', timeout=10)) for _ in range(30)]
print("30 calls were answered by instances", dict(collections.Counter(answer["instance"] for answer in answers)))

watch = channel.unary_stream("/shop.Stock/Watch")
for answer in watch(b'{"count": 3, "every": 0.2}', timeout=10):
    print("watched:", json.loads(answer))

haggle = channel.stream_stream("/shop.Stock/Haggle")
for answer in haggle((json.dumps({"bid": bid}).encode() for bid in (3, 4, 5)), timeout=10):
    print("haggled:", json.loads(answer))

try:
    watch(b'{"every": 5}', timeout=0.5).__next__()
    for _ in watch(b'{"every": 5}', timeout=0.5):
        pass
except grpc.RpcError as error:
    print("a deadline:", error.code().name)
