"""Does what it is told by a line: `name` says its own port, `connect PORT` what answers there, `listen
PORT` listens there as well, and says so when it does. Each connection has a thread."""

import os
import socket
import threading


def listen(port):
    listener = socket.socket()
    listener.bind(("0.0.0.0", port))
    listener.listen()
    threading.Thread(target=serve, args=(listener,), daemon=True).start()


def told(connection, words):
    if words[0] == "name":
        return str(connection.getsockname()[1])
    if words[0] == "connect":
        with socket.create_connection(("127.0.0.1", int(words[1])), 10) as other:
            other.sendall(b"name\n")
            return "connected to " + other.makefile().readline().strip()
    listen(int(words[1]))
    return "listens"


def answer(connection):
    with connection:
        words = connection.makefile().readline().split()
        try:
            text = told(connection, words)
        except OSError as error:
            text = error.strerror
        connection.sendall(f"{text}\n".encode())


def serve(listener):
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


listen(int(os.environ.get("PORT", "3000")))
threading.Event().wait()
