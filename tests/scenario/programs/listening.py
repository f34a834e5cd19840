"""Asks a listening socket (port 8086), and connections that it accepted, what a program can ask them,
and tells the answers, which must be the same with enginx and without. The first byte that a client
sends: "f" what the listener answered when it was new, "l" what it answers now, "c" what this connection
answers, to which three bytes more were sent."""

import array
import errno
import fcntl
import os
import select
import socket
import struct
import termios

PORT = 8086


def result(call):
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno]


def readable_bytes(sock):
    count = array.array("i", [-1])
    fcntl.ioctl(sock, termios.FIONREAD, count)
    return count[0]


def splice(sock):
    reading, writing = os.pipe()
    try:
        return os.splice(sock.fileno(), writing, 1, flags=2)  # SPLICE_F_NONBLOCK
    finally:
        os.close(reading)
        os.close(writing)


def polled(sock):
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLOUT | select.POLLHUP)
    return [events for _, events in poll.poll(0)]


def questions(sock):
    now = socket.MSG_DONTWAIT
    return {
        "recv": lambda: sock.recv(1, now),
        "recv of nothing": lambda: sock.recvmsg(0, 0, now)[0],
        "peek": lambda: sock.recv(1, now | socket.MSG_PEEK),
        "recv of urgent data": lambda: sock.recv(1, now | socket.MSG_OOB),
        "recv of errors": lambda: sock.recv(1, now | socket.MSG_ERRQUEUE),
        "recvmsg": lambda: sock.recvmsg(1, 64, now)[0],
        "recvfrom": lambda: sock.recvfrom(1, now)[0],
        "read": lambda: os.read(sock.fileno(), 1),
        "readv": lambda: os.readv(sock.fileno(), [bytearray(1)]),
        "splice": lambda: splice(sock),
        "FIONREAD": lambda: readable_bytes(sock),
        "poll": lambda: polled(sock),
        "error": lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
        "state": lambda: sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0],
        "accepts": lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
        "lowat": lambda: (sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1),
                          sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)),
        "tls": lambda: sock.setsockopt(socket.IPPROTO_TCP, 31, b"tls"),
        "repair": lambda: sock.getsockopt(socket.IPPROTO_TCP, 19),
        "zerocopy": lambda: sock.setsockopt(socket.SOL_SOCKET, 60, 1),
    }


def asked(sock):
    sock.setblocking(False)
    answers = {name: result(ask) for name, ask in questions(sock).items()}
    sock.setblocking(True)
    return answers


def listener_answers(listener):
    answers = asked(listener)
    answers["peer"] = result(listener.getpeername)
    answers["send"] = result(lambda: listener.send(b"x", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL))
    answers["connect"] = result(lambda: listener.connect(("127.0.0.1", 1)))
    answers["shutdown"] = result(lambda: listener.shutdown(socket.SHUT_WR))
    # Should it wait, then not for ever.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 200_000))
    answers["recv that may wait"] = result(lambda: listener.recv(1))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
    return answers


def connection_answers(connection):
    answers = asked(connection)
    answers["send"] = result(lambda: connection.send(b"", socket.MSG_DONTWAIT))
    return answers


def tell(answers):
    return "".join(f"{name}: {answer}\n" for name, answer in answers.items())


def open_listener():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", PORT))
    listener.listen(64)
    return listener


def serve(listener, first):
    while True:
        connection, _ = listener.accept()
        with connection:
            question = connection.recv(1)
            if question == b"f":
                connection.sendall(first.encode())
            elif question == b"l":
                connection.sendall(tell(listener_answers(listener)).encode())
            elif question == b"c":
                connection.sendall(tell(connection_answers(connection)).encode())
            result(lambda: connection.recv(64, socket.MSG_DONTWAIT))  # what is unread would reset it


opened = open_listener()
asked_at_once = tell(listener_answers(opened))
# Disconnected by shutdown, it can listen again.
asked_at_once += f"shutdown for reading: {result(lambda: opened.shutdown(socket.SHUT_RD))}\n"
asked_at_once += f"then recv: {result(lambda: opened.recv(1, socket.MSG_DONTWAIT))}\n"
asked_at_once += f"and listen: {result(lambda: opened.listen(64))}\n"
print("it serves", flush=True)  # before that a client is reset, and shows in the answers
serve(opened, asked_at_once)
