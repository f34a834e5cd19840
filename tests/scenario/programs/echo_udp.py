"""Answers each datagram on UDP port 4000 with "WHO PID" and what it got."""

import os
import socket

who = os.environ.get("WHO", "-")
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 4000))
while True:
    data, client = server.recvfrom(2048)
    server.sendto(f"{who} {os.getpid()} ".encode() + data, client)
