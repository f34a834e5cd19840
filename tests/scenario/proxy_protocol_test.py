"""The PROXY protocol: read from proxies in front that are named, and from nobody else; written to a
real nginx behind; both for HTTP and for TCP."""

import socket
import struct
import time

import pytest

from harness import clients
from harness.origins import Origin, answer_of, get, receive_all, receive_until

PROXY, STRANGER = "127.0.1.1", "127.0.1.2"
GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
both_accounts = pytest.mark.both_accounts


def version_1(source, destination=None, ports=(40000, 443)):
    kind = "TCP6" if ":" in source else "TCP4"
    destination = destination or ("2001:db8::9" if ":" in source else "198.51.100.9")
    return f"PROXY {kind} {source} {destination} {ports[0]} {ports[1]}\r\n".encode()


def version_2(source, destination=None, ports=(40000, 443), more=b""):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    destination = destination or ("2001:db8::9" if ":" in source else "198.51.100.9")
    body = (socket.inet_pton(family, source) + socket.inet_pton(family, destination) +
            struct.pack(">HH", *ports) + more)
    return (b"\r\n\r\n\0\r\nQUIT\n\x21" + (b"\x21" if ":" in source else b"\x11") +
            struct.pack(">H", len(body)) + body)


LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
UNKNOWN = b"PROXY UNKNOWN\r\n"
KNOWN = [
    (version_1("203.0.113.7"), "203.0.113.7"),
    (version_1("2001:db8::7"), "2001:db8::7"),
    (version_2("203.0.113.7"), "203.0.113.7"),
    (version_2("2001:db8::7"), "2001:db8::7"),
    (version_2("203.0.113.8", more=b"\x04\0\x05noop!"), "203.0.113.8"),
    (LOCAL, PROXY),
    (UNKNOWN, PROXY),
]


def connect(port, source):
    return socket.create_connection(("127.0.0.1", port), 10, (source, 0))


def forwarded(connection):
    """Answers with who asked, by X-Forwarded-For."""
    head = receive_until(connection, b"\r\n\r\n")
    body = b"".join(line.partition(b": ")[2] for line in head.split(b"\r\n")
                    if line.lower().startswith(b"x-forwarded-for: "))
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                       % (len(body), body))


def upper(connection):
    """What came until the end, in capitals."""
    data, _ = receive_all(connection)
    connection.sendall(data.upper())


@pytest.fixture
def front(cluster):
    """HTTP on 8080 and TCP on 8081, with a proxy that both know."""
    with Origin(forwarded) as http, Origin(upper) as tcp:
        cluster.up(f"""
            service http {{ at {http.text}; }}
            service tcp {{ at {tcp.text}; }}
            listen 8080 http {{ proxy-protocol {PROXY}; bounds per-client=2; route / -> http; }}
            listen 8081 tcp -> tcp {{ proxy-protocol {PROXY}; }}""")
        cluster.wait(lambda: cluster.status() and not clients.refused(8080), 10, "the gateway")
        yield cluster


def ask_http(source, *pieces):
    with connect(8080, source) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.01)
        return answer_of(connection)


@both_accounts
def test_headers_of_a_known_proxy(front):
    for header, client in KNOWN:
        assert ask_http(PROXY, header + GET).body.decode() == client, header
        assert ask_http(PROXY, header, GET).body.decode() == client, header
        # And in pieces that hold no whole of anything.
        pieces = [bytes([byte]) for byte in header] + [GET[:7], GET[7:]]
        assert ask_http(PROXY, *pieces).body.decode() == client, header
        with connect(8081, PROXY) as connection:
            connection.sendall(header + b"hello ")
            time.sleep(0.01)
            connection.sendall(b"world")
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == (b"HELLO WORLD", "end")


@both_accounts
def test_who_must_send_a_header_and_does_not(front):
    for port in (8080, 8081):
        for said in (GET, b"PROXY TCP4 nonsense\r\n", b"PROXY TCP9 1.2.3.4 1.2.3.4 1 2\r\n" + GET,
                     b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c" + bytes(12), b"PROXY " + b"x" * 200):
            with connect(port, PROXY) as connection:
                connection.sendall(said)
                assert receive_all(connection)[0] == b"", said


@both_accounts
def test_a_strangers_header_is_no_header(front):
    assert ask_http(STRANGER, GET).body.decode() == STRANGER
    for header in (version_1("203.0.113.7"), version_2("203.0.113.7")):
        assert ask_http(STRANGER, header + GET).status == 400
        with connect(8081, STRANGER) as connection:  # bytes like all others
            connection.sendall(header)
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection)[0] == header.upper()


@both_accounts
def test_limits_count_who_it_really_is(front):
    def held(header):
        connection = connect(8080, PROXY)
        connection.sendall(header + GET.replace(b"close", b"keep-alive"))
        try:
            return connection, receive_until(connection, b"\r\n\r\n")[:12]
        except ConnectionResetError:
            return connection, b""

    kept = [held(version_1("203.0.113.7")) for _ in range(3)]
    assert [answer for _, answer in kept] == [b"HTTP/1.1 200"] * 2 + [b""]
    other, answer = held(version_1("203.0.113.8"))
    assert answer == b"HTTP/1.1 200"
    other.close()
    for connection, _ in kept:
        connection.close()


@both_accounts
def test_a_reload_while_a_header_is_awaited(cluster):
    with Origin(forwarded) as origin:
        def text(number):
            return f"""
                service http {{ at {origin.text}; }}
                listen 8080 http {{ proxy-protocol {PROXY}; route /{number} {{ respond 204; }} route / -> http; }}"""
        cluster.up(text(0))
        cluster.wait(lambda: cluster.status() and not clients.refused(8080), 10, "the gateway")
        waiting = [connect(8080, PROXY) for _ in range(20)]
        for connection in waiting:
            connection.sendall(b"PROXY ")
        for number in range(1, 4):
            cluster.configure(text(number))
            cluster.command("reload")
            cluster.wait(lambda: get(8080, f"/{number}").status == 204, 5, "the route")
        for connection in waiting:
            connection.sendall(version_1("203.0.113.7")[6:] + GET)
            assert answer_of(connection).body == b"203.0.113.7"
            connection.close()


@both_accounts
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_headers_to_nginx(cluster, programs, version):
    cluster.up(f"""
        service web {{
            run /usr/sbin/nginx -p $state/ -e stderr -c {programs.path("nginx_proxied.conf")} -g "daemon off;";
            port 8085; proxy-protocol {version};
        }}
        listen 8080 http -> web;
        listen 8081 tcp -> web;
        listen 8082 http {{ proxy-protocol {PROXY}; route / -> web; }}
        listen 8083 tcp -> web {{ proxy-protocol {PROXY}; }}""")
    cluster.wait_up(1)
    for port in (8080, 8081):
        with connect(port, STRANGER) as connection:
            own = connection.getsockname()
            connection.sendall(GET)
            assert answer_of(connection).body.decode().split() == [STRANGER, str(own[1]), "127.0.0.1", str(port)]
    for port in (8082, 8083):
        for header, client in KNOWN[:5]:
            with connect(port, PROXY) as connection:
                connection.sendall(header + GET)
                there = "2001:db8::9" if ":" in client else "198.51.100.9"
                assert answer_of(connection).body.decode().split() == [client, "40000", there, "443"]
    # A connection belongs to one client: the next request of another never goes over it.
    for number in range(1, 6):
        assert get(8080).body.split()[0] == b"127.0.0.1"
        with connect(8080, f"127.0.2.{number}") as connection:
            connection.sendall(GET)
            assert answer_of(connection).body.split()[0].decode() == f"127.0.2.{number}"
