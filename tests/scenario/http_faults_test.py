"""What clients and endpoints do wrong over HTTP, and what the gateway answers: slow ones, greedy
ones, and those that never answer, answer nonsense, or die in the midst of an answer."""

import http.client
import random
import re
import resource
import select
import socket
import ssl
import threading
import time

import pytest

from harness import clients
from harness.origins import (Origin, abort, answer_of, get, lasting, receive_all, receive_until,
                             request_read, resident)
from harness.processes import descriptors
from tls_test import identity

PORT = 8080
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
both_accounts = pytest.mark.both_accounts


def connect(port=PORT, timeout=10, source="127.0.0.1", window=None):
    connection = socket.socket()
    if window:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.settimeout(timeout)
    connection.bind((source, 0))
    connection.connect(("127.0.0.1", port))
    return connection


def wait_listening(cluster, port=PORT):
    cluster.wait(lambda: cluster.status() and not clients.refused(port), 10, "the gateway to listen")


def read_head(connection):
    return receive_until(connection, b"\r\n\r\n")


# ---- clients that are slow or want too much ----


def patient(connection):
    """An endpoint that reads whole requests, and answers each with 200."""
    while request_read(connection)[0]:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n1 -")


@pytest.fixture
def front(cluster):
    """A function that starts a gateway with this in the listener's block, before a patient server."""
    with Origin(patient) as origin:
        def start(block):
            cluster.up(f"""
                service web {{ at {origin.text}; }}
                listen {PORT} http {{ {block} route / -> web; }}""")
            wait_listening(cluster)
        yield start


@both_accounts
def test_slow_clients_are_cut(cluster, front):
    front("timeout header=400ms body=400ms idle=600ms;")
    # A head that drips is over in time, however often a byte comes.
    with connect() as slow, lasting(0.3, 5):
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        for _ in range(50):
            try:
                slow.sendall(b"X")
            except OSError:
                break
            if select.select([slow], [], [], 0.05)[0]:
                break
        assert answer_of(slow).status == 408
        assert slow.recv(1) == b""
    # One who connects and says nothing.
    with connect() as silent, lasting(0.3, 5):
        assert silent.recv(4096)[:13] in (b"", b"HTTP/1.1 408 ")
    # A body that stops.
    with connect() as slow, lasting(0.3, 5):
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        answer = answer_of(slow)
        assert answer.status == 408 and b"client" in answer.body
        assert slow.recv(1) == b""
    # One that keeps its connection without asking.
    with connect() as idle:
        idle.sendall(GET % b"/whoami")
        assert answer_of(idle).status == 200
        with lasting(0.4, 5):
            assert idle.recv(1) == b""
    assert clients.who(PORT) == "1"


def test_a_body_that_comes_too_slowly(cluster, front):
    front("timeout body=20s; bounds slowest=1000;")
    with connect() as slow, connect() as fast, lasting(3, 12):
        for connection in (slow, fast):
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        while not select.select([slow], [], [], 0.1)[0]:
            slow.sendall(b"x")
            fast.sendall(b"x" * 500)
        assert answer_of(slow).status == 408
        assert not select.select([fast], [], [], 0)[0], "the fast one was cut too"


def test_readers_that_read_nothing_cost_little_and_are_cut(cluster, programs):
    def much(connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        for _ in range(50):
            connection.sendall(bytes(1000000))

    with Origin(much) as origin:
        cluster.up(f"""
            service big {{ at {origin.text}; timeout send=1m read=1m; }}
            listen {PORT} http {{ timeout send=2s; route / -> big; }}""")
        wait_listening(cluster)
        gateway = cluster.status()["gateway_pid"]
        before = resident(gateway)
        readers = [connect(window=4096) for _ in range(200)]
        for reader in readers:
            reader.sendall(GET % b"/")
        for reader in readers:
            assert reader.recv(12) == b"HTTP/1.1 200"
        time.sleep(0.3)
        assert resident(gateway) - before < 200 * 40_000
        # They are cut, and see that it is not the whole.
        time.sleep(2.5)
        for reader in readers[:20]:
            data, _ = receive_all(reader)
            assert len(data) < 50_000_000
        cluster.wait(lambda: cluster_connections(cluster) == 0, 5, "all to be cut")
        for reader in readers:
            reader.close()


def cluster_connections(cluster):
    """Descriptors of connections that the gateway holds, with those to endpoints."""
    links = descriptors(cluster.status()["gateway_pid"])
    inodes = {link[8:-1] for link in links.values() if link.startswith("socket:[")}
    held = 0
    for name in ("tcp", "tcp6"):
        for line in open(f"/proc/thread-self/net/{name}").read().splitlines()[1:]:
            fields = line.split()
            held += fields[9] in inodes and fields[3] != "0A"
    return held


@both_accounts
def test_limits_of_requests(cluster, front):
    front("bounds header=2k fields=20 body=1000;")
    assert get(PORT, "/", **{"X-Long": "x" * 3000}).status == 431
    assert get(PORT, "/", **{f"X-{i}": "x" for i in range(30)}).status == 431
    assert get(PORT, "/" + "x" * 3000).status in (414, 431)
    assert get(PORT, "/", "POST", b"x" * 1001).status == 413
    assert get(PORT, "/", "POST", b"x" * 1000).status == 200
    # Chunks, whose sum nobody knows before.
    with connect() as greedy:
        greedy.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            greedy.sendall(b"1f4\r\n" + b"x" * 500 + b"\r\n")
            time.sleep(0.05)
        assert answer_of(greedy).status == 413
    assert clients.who(PORT) == "1"


def held_open(connection):
    """Does somebody serve it?"""
    try:
        connection.sendall(GET % b"/whoami")
        return answer_of(connection).status == 200
    except (OSError, http.client.HTTPException):
        return False


def admitted(sources):
    """Connections from these addresses, one after the other, and which of them are served. (Two
    threads that accept at once may admit one too many.)"""
    connections, served = [], []
    for source in sources:
        connections.append(connect(source=source))
        served.append(held_open(connections[-1]))
    return connections, served


@both_accounts
def test_limits_of_connections(cluster, front):
    front("bounds connections=20 per-client=5;")
    mine, served = admitted("127.0.1.1" for _ in range(8))
    assert served == [True] * 5 + [False] * 3
    # Another client is another matter, until all are too many.
    others, served = admitted(f"127.0.1.{2 + i // 5}" for i in range(20))
    assert served == [True] * 15 + [False] * 5
    assert all(held_open(connection) for connection in mine[:5]), "those who were there first lost"
    for connection in mine + others:
        connection.close()
    cluster.wait(lambda: clients.answer(PORT), 5, "room again")


@both_accounts
def test_the_gateways_own_limit(cluster):
    """It counts all threads together, whichever of them got the connections."""
    cluster.up(f"gateway threads=4 connections=40; listen {PORT} http {{ respond 200 x; }}")
    wait_listening(cluster)
    many, served = admitted("127.0.0.1" for _ in range(50))
    assert served == [True] * 40 + [False] * 10
    many[0].close()
    cluster.wait(lambda: held_open(connect()), 5, "room again")
    for connection in many:
        connection.close()


def test_threads_share_what_comes_slowly(cluster):
    """While there is little to do the kernel would wake always the same."""
    cluster.up(f"gateway threads=4; listen {PORT} http {{ respond 200 x; }}")
    wait_listening(cluster)
    many = [connect() for _ in range(80) if not time.sleep(0.003)]
    assert all(held_open(connection) for connection in many)
    gateway = cluster.status()["gateway_pid"]
    watched = sorted(open(f"/proc/{gateway}/fdinfo/{number}").read().count("tfd:")
                     for number, link in descriptors(gateway).items() if link == "anon_inode:[eventpoll]")
    assert watched[-4] >= 12, watched
    for connection in many:
        connection.close()


@both_accounts
def test_without_descriptors_what_is_there_is_served(cluster):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

    with Origin(patient) as origin:
        path = cluster.configure(f"""
            service web {{ at {origin.text}; }}
            listen {PORT} http {{ route / -> web; }}""")
        cluster.start("up", path, preexec_fn=few)
        wait_listening(cluster)
        gateway = cluster.status()["gateway_pid"]
        kept = connect()
        assert held_open(kept)
        many = [connect() for _ in range(200)]  # the listener's queue has those that are too many
        begin, rest = (GET % b"/whoami")[:4], (GET % b"/whoami")[4:]
        for connection in many:  # who says nothing is not accepted for a second, in no order
            connection.sendall(begin)
        log = cluster.state / "log" / "enginx.log"
        cluster.wait(lambda: "accept-paused" in log.read_text(), 5, "a line about it")
        # Who was there, and who still found room, is served: there are some left for endpoints.
        assert all(held_open(kept) for _ in range(5))
        served = 0
        while served < len(many):
            many[served].sendall(rest)
            if not select.select([many[served]], [], [], 0.3)[0]:
                break
            assert answer_of(many[served]).status == 200
            served += 1
        assert 50 < served < 128
        # With room again those who waited are served, too; none is refused or forgotten.
        for connection in many[:served]:
            connection.close()
        for number in range(served, len(many)):
            if number > served:
                many[number].sendall(rest)
            assert answer_of(many[number]).status == 200
            many[number].close()
        assert clients.who(PORT) == "1"
        assert cluster.status()["gateway_pid"] == gateway
        assert log.read_text().count("accept-paused") <= 2 * cluster.status().get("threads", 8)


def test_thousands_at_once(cluster, programs):
    """All connect before the first asks; few connections lead on; nobody is refused or forgotten."""
    count = 3000
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2;
                       capacity connections=50; hold requests={count} within=60s; }}
        listen {PORT} http {{ timeout idle=60s header=60s; route / -> web; }}""")
    cluster.wait_up(2)
    with clients.Held(PORT, count, timeout=60) as held:
        for connection in held.connections:
            connection.sendall(GET % b"/whoami")
        statuses = [answer_of(connection).status for connection in held.connections]
    assert statuses.count(200) == count


# ---- endpoints that do not do their part ----


def faulty(connection):
    """Does what the path says."""
    while True:
        head = read_head(connection)
        if head.count(b" ") < 2:
            return
        path = head.split(b" ")[1]
        if path == b"/never":
            connection.recv(1)
            return
        connection.sendall(SAID.get(path, SAID[b"/good"]))
        if path.startswith(b"/bad-"):
            time.sleep(0.1)  # the head is passed on
            connection.sendall(b"zz\r\n")
        if path.startswith(b"/reset"):
            time.sleep(0.1)  # what was said has arrived
            abort(connection)
        if path != b"/good":
            return


SAID = {
    b"/good": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
    b"/close": b"",
    b"/reset": b"",
    b"/garbage": b"\0\1\2 what is this\r\n\r\n",
    b"/other": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    b"/early-head": b"HTTP/1.1 200 OK\r\nContent-Le",
    b"/reset-head": b"HTTP/1.1 200 OK\r\nContent-Le",
    b"/two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\ngood",
    b"/endless-head": b"HTTP/1.1 200 OK\r\n" + b"X-Field: 0123456789\r\n" * 20000,
    b"/length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    b"/reset-length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    b"/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    b"/chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort",
    b"/bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    b"/reset-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    b"/upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello",
    b"/to-the-end": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole",
    b"/reset-to-the-end": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nshort",
}


@pytest.fixture
def origin(cluster):
    with Origin(faulty) as made:
        cluster.up(f"""
            service origin {{ at {made.text}; timeout response=500ms connect=1s; eject failures=0; }}
            listen {PORT} http {{ access-log json; route / -> origin; }}""")
        wait_listening(cluster)
        yield made


@both_accounts
def test_endpoints_that_do_not_answer(cluster, origin):
    with lasting(0.4, 5):
        answer = get(PORT, "/never")
    assert answer.status == 504 and b"upstream" in answer.body
    for path in ("/close", "/reset", "/garbage", "/other", "/early-head", "/reset-head", "/two-lengths",
                 "/endless-head"):
        answer = get(PORT, path)
        assert answer.status == 502, path
        assert b"upstream" in answer.body and answer.getheader("X-Request-Id", "").encode() in answer.body
        assert get(PORT, "/good").body == b"good"


@both_accounts
def test_an_answer_that_breaks_off_is_never_taken_for_whole(cluster, origin):
    for path in ("/length", "/reset-length", "/chunks", "/chunk", "/bad-chunk", "/reset-chunks",
                 "/reset-to-the-end"):
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            get(PORT, path)
    # HTTP/1.0 knows no chunks: there the end of the connection is the end of the body, so it must
    # be no ordinary end.
    for path in (b"/chunks", b"/chunk", b"/bad-chunk", b"/reset-chunks", b"/reset-to-the-end"):
        with connect() as old:
            old.sendall(b"GET %s HTTP/1.0\r\nHost: x\r\n\r\n" % path)
            data, how = receive_all(old)
            assert how == "reset", (path, data)
    assert get(PORT, "/to-the-end").body == b"whole"
    assert get(PORT, "/good").body == b"good"


def test_an_endpoint_that_answers_early(cluster):
    """It refuses before it has read the body; the client gets that, whatever it still sends."""
    def refuse(connection):
        read_head(connection)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")

    with Origin(refuse) as origin:
        cluster.up(f"service origin {{ at {origin.text}; }} listen {PORT} http -> origin;")
        wait_listening(cluster)
        for size in (10, 100_000, 20_000_000):
            with connect() as client:
                client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
                threading.Thread(target=push, args=[client, size], daemon=True).start()
                answer = answer_of(client)
                assert (answer.status, answer.body) == (403, b"no"), size


def push(connection, size):
    try:
        connection.sendall(bytes(size))
    except OSError:
        pass


@both_accounts
def test_endpoints_that_refuse(cluster):
    """Nobody listens there: tried again, then said."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        dead = place.getsockname()[1]
        with Origin(faulty) as origin:
            cluster.up(f"""
                service dead {{ at 127.0.0.1:{dead}; hold within=300ms; eject failures=2 for=1s; }}
                service half {{ at 127.0.0.1:{dead}; at {origin.text}; eject failures=3 for=10s; }}
                listen {PORT} http {{ route /good -> half; route / -> dead; }}""")
            wait_listening(cluster)
            with lasting(0, 5):
                answer = get(PORT, "/")
            assert answer.status == 503 and b"upstream" in answer.body
            statuses = [get(PORT, "/good").status for _ in range(20)]
            assert statuses == [200] * 20


def test_an_endpoint_that_takes_no_connections(cluster):
    """Its queue is full, so the kernel drops our SYN: over after `timeout connect`."""
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = full.getsockname()[1]
    waiting = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        waiting.append(client)
    cluster.up(f"""
        service full {{ at 127.0.0.1:{port}; timeout connect=300ms; retry tries=1; hold within=300ms; }}
        listen {PORT} http -> full;""")
    wait_listening(cluster)
    with lasting(0.2, 5):
        assert get(PORT, "/").status in (503, 504)
    for client in waiting:
        client.close()
    full.close()


@both_accounts
def test_an_endpoint_that_stops_in_the_midst(cluster):
    """Neither an end nor more of the body: `timeout read`."""
    def stop(connection):
        read_head(connection)
        connection.sendall(SAID[b"/length"])
        connection.recv(1)

    with Origin(stop) as origin:
        cluster.up(f"""
            service origin {{ at {origin.text}; timeout read=400ms; }}
            listen {PORT} http -> origin;""")
        wait_listening(cluster)
        with lasting(0.3, 5), pytest.raises((http.client.IncompleteRead, ConnectionError)):
            get(PORT, "/")


def test_a_client_that_goes_away_frees_the_endpoint(cluster):
    gone = threading.Event()

    def wait(connection):
        read_head(connection)
        try:
            if connection.recv(1) == b"":
                gone.set()
        except OSError:
            gone.set()

    with Origin(wait) as origin:
        cluster.up(f"service origin {{ at {origin.text}; }} listen {PORT} http -> origin;")
        wait_listening(cluster)
        client = connect()
        client.sendall(GET % b"/")
        cluster.wait(lambda: origin.connections, 5, "the request")
        abort(client)
        assert gone.wait(5), "the request goes on, for nobody"


# ---- TLS ----


def tls_hello():
    """What a client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secured = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="shop.example")
    with pytest.raises(ssl.SSLWantReadError):
        secured.do_handshake()
    return outgoing.read()


class Secured(ssl.SSLSocket):
    said = None


def answer_securely(connections):
    for connection in connections:
        connection.do_handshake()
        connection.sendall(GET % b"/")
        connection.said = answer_of(connection).body
        connection.close()


@both_accounts
def test_tls_that_does_not_come_to_an_end(cluster):
    folder = cluster.folder("tls")
    identity(folder, "ca")
    identity(folder, "shop", "shop.example", issuer="ca")
    for path in folder.iterdir():
        cluster.own(path)
    cluster.up(f"""
        listen {PORT} http tls {{
            certificate tls/shop.crt key=tls/shop.key; timeout header=500ms; respond 200 "well";
        }}
        listen 8081 tcp tls -> nobody {{ certificate tls/shop.crt key=tls/shop.key; }}
        listen 8082 http tls {{ certificate tls/shop.crt key=tls/shop.key; respond 200 "well"; }}
        service nobody {{ at 127.0.0.1:9; }}""")
    wait_listening(cluster)
    hello = tls_hello()
    # Nothing, a part of a hello, a whole one and nothing more.
    for said in (b"", hello[:20], hello):
        with connect() as slow, lasting(0.3, 5):
            slow.sendall(said)
            receive_all(slow)
    # What is no TLS at all is over at once.
    for said in (GET % b"/", bytes(1000), b"\x16\x03\x01\xff\xff" + bytes(100), b"\x80\x2e\x01" + bytes(60)):
        for port in (PORT, 8081):
            with connect(port) as strange, lasting(0, 3):
                strange.sendall(said)
                assert b"HTTP" not in receive_all(strange)[0]
    # Two hundred hellos at once, and then the rest of each.
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.sslsocket_class = Secured
    connections = [connect(8082) for _ in range(200)]
    secured = [context.wrap_socket(one, server_hostname="shop.example", do_handshake_on_connect=False)
               for one in connections]
    threads = [threading.Thread(target=answer_securely, args=[part]) for part in (secured[:100], secured[100:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one.said == b"well" for one in secured)


@both_accounts
def test_an_endpoint_that_shakes_no_hands(cluster):
    """TLS to an endpoint that accepts and says nothing, or says what is no TLS."""
    def silent(connection):
        connection.recv(4096)
        connection.recv(1)

    def strange(connection):
        connection.recv(4096)
        connection.sendall(SAID[b"/good"])

    with Origin(silent) as one, Origin(strange) as other:
        cluster.up(f"""
            service silent {{ at {one.text}; tls verify=no; timeout connect=400ms response=400ms; retry tries=0; }}
            service strange {{ at {other.text}; tls verify=no; retry tries=1; }}
            listen {PORT} http {{ route /silent -> silent; route / -> strange; }}""")
        wait_listening(cluster)
        with lasting(0.3, 5):
            assert get(PORT, "/silent").status == 504
        assert get(PORT, "/").status in (502, 503)


def test_an_endpoint_that_only_promises(cluster):
    """103 again and again is no answer."""
    def promise(connection):
        read_head(connection)
        while True:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            time.sleep(0.05)

    with Origin(promise) as origin:
        cluster.up(f"""
            service origin {{ at {origin.text}; timeout response=600ms; }}
            listen {PORT} http -> origin;""")
        wait_listening(cluster)
        with connect() as client, lasting(0.4, 5):
            client.sendall(GET % b"/")
            said = receive_all_within(client, 3)
            assert said.count(b"HTTP/1.1 103 ") >= 2 and b"HTTP/1.1 504 " in said


def receive_all_within(connection, seconds):
    """What comes until the end, or until it is silent for so long or a 504 was complete."""
    connection.settimeout(seconds)
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
            if b"504" in data and data.endswith(b"\n"):
                break
    except TimeoutError:
        pass
    return data


@both_accounts
def test_many_requests_in_one_piece(cluster, front):
    front("")
    with connect() as client:
        client.sendall(b"".join(GET % b"/%d" % number for number in range(500)))
        data = b""
        while data.count(b"HTTP/1.1 200 OK\r\n") < 500 or not data.endswith(b"1 -"):
            piece = client.recv(65536)
            assert piece
            data += piece


# ---- all at once ----


def misbehave(rng):
    """One client: asks for something that goes wrong, and may leave at any moment."""
    path = rng.choice(sorted(SAID) + [b"/never"])
    method, body = rng.choice([(b"GET", b""), (b"GET", b""), (b"HEAD", b""), (b"POST", b"x" * rng.choice([0, 10, 100_000]))])
    request = b"%s %s HTTP/1.%d\r\nHost: x\r\n" % (method, path, rng.randrange(2))
    if method == b"POST":
        request += b"Content-Length: %d\r\n" % len(body)
    if rng.random() < 0.3:
        request += b"Upgrade: x\r\nConnection: Upgrade\r\n"
    request += b"\r\n" + body
    if rng.random() < 0.2:
        request = request[:rng.randrange(len(request))]
    if rng.random() < 0.1:
        request += GET % b"/good"
    client = connect(rng.choice([PORT, PORT, 8081]), timeout=5)
    try:
        client.sendall(request)
        leaves = rng.random()
        if leaves < 0.3:
            time.sleep(rng.random() * 0.05)
            abort(client)
        elif leaves < 0.4:
            client.shutdown(socket.SHUT_WR)
            receive_all(client)
        elif leaves < 0.6:
            client.recv(rng.randrange(1, 300))
        else:
            client.settimeout(0.3)
            receive_all(client)
    except (OSError, TimeoutError):
        pass
    finally:
        client.close()


@both_accounts
def test_nothing_is_left_of_all_that(cluster):
    """Clients and endpoints misbehave at random; after it the gateway has what it had before."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    with Origin(faulty) as origin, Origin(patient) as other:
        cluster.up(f"""
            service mixed {{ at {origin.text}; at {other.text}; timeout response=300ms idle=500ms; eject failures=0;
                             retry budget=100%; }}
            listen {PORT} http {{ timeout header=500ms body=500ms send=500ms idle=500ms; route / -> mixed; }}
            listen 8081 tcp -> mixed idle=500ms;
            metrics 127.0.0.1:9100;""")
        wait_listening(cluster)
        gateway = cluster.status()["gateway_pid"]

        def many(number):
            rng = random.Random(seed + number)
            for _ in range(40):
                misbehave(rng)

        threads = [threading.Thread(target=many, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        cluster.wait(lambda: cluster_connections(cluster) == 0, 8, "all connections to end")
        assert cluster.status()["gateway_pid"] == gateway
        now = get(9100, "/metrics").body.decode()
        gauges = re.findall(r"^(enginx_\w+_(?:requests_in_flight|connections|held)\b.*) (\S+)$", now, re.M)
        assert len(gauges) > 5
        assert not [gauge for gauge in gauges if float(gauge[1]) != 0]
