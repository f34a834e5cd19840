"""Says READY=1 to its supervisor (sd_notify(3)) one second after it listens on port 8087; with
NEVER=1 in the environment, never."""

import os
import socket
import time


def notify(message):
    address = os.environ["NOTIFY_SOCKET"]
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect(address)
        out.send(message.encode())


server = socket.create_server(("0.0.0.0", 8087))
time.sleep(1)
if not os.environ.get("NEVER"):
    notify("STATUS=all well\nREADY=1\n")
while True:
    client, _ = server.accept()
    client.recv(2048)
    body = f"{os.environ.get('WHO', '-')} {os.getpid()}\n"
    client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                   f"{body}".encode())
    client.close()
