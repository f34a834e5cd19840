"""Listens on port 8086 and ignores every signal that can be ignored."""

import os
import signal
import socket

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
server = socket.create_server(("0.0.0.0", 8086))
print("I will not go", flush=True)
while True:
    client, _ = server.accept()
    client.recv(2048)
    body = f"{os.environ.get('WHO', '-')} {os.getpid()}\n"
    client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                   f"{body}".encode())
    client.close()
