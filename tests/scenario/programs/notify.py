"""Says READY=1 to its supervisor (sd_notify(3)) one second after it listens on port 8087 (DELAY: after
so many); with NEVER=1 in the environment, never.

/whoami       "WHO PID"
/main?PID     says that PID is the main process
/handover     a child goes on, says that it is the main process, and serves; the parent ends
/handover?stay    the same, but the parent stays
/end          it ends with 0
"""

import os
import signal
import socket
import time


def notify(message):
    address = os.environ["NOTIFY_SOCKET"]
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect(address)
        out.send(message.encode())


def handover(argument):
    told, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        notify("STATUS=taking over")
        notify(f"MAINPID={os.getpid()}")
        os.write(tell, b".")
        return
    os.read(told, 1)
    while argument == "stay":
        signal.pause()
    os._exit(0)


server = socket.create_server(("0.0.0.0", 8087))
time.sleep(float(os.environ.get("DELAY", "1")))
if not os.environ.get("NEVER"):
    notify("STATUS=all well\nREADY=1\n")
while True:
    client, _ = server.accept()
    name, _, argument = client.recv(2048).split(b" ", 2)[1].decode().partition("?")
    if name == "/main":
        notify(f"MAINPID={argument}")
    elif name == "/handover":
        handover(argument)
    elif name == "/end":
        os._exit(0)
    body = f"{os.environ.get('WHO', '-')} {os.getpid()}\n"
    client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                   f"{body}".encode())
    client.close()
