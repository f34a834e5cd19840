"""Opens no port: serves on the listener that it is handed (sd_listen_fds(3))."""

import os
import socket
import sys

if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
    sys.exit(f"LISTEN_PID={os.environ.get('LISTEN_PID')} LISTEN_FDS={os.environ.get('LISTEN_FDS')}")
server = socket.socket(fileno=3)
server.setblocking(True)
while True:
    client, _ = server.accept()
    client.recv(2048)
    body = f"{os.environ.get('WHO', '-')} {os.getpid()}\n"
    client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                   f"{body}".encode())
    client.close()
