"""TLS: at the edge (SNI, versions, client certificates, reload), passed through by name, and to
endpoints that are verified."""

import http.client
import os
import socket
import ssl
import subprocess

import pytest

from harness import clients

PORT = 8443


def identity(folder, name, *names, issuer=None, days=2):
    """NAME.crt and NAME.key in the folder; signed by the issuer, or by itself."""
    extensions = folder / f"{name}.ext"
    alternative = ",".join(f"DNS:{one}" for one in names)
    extensions.write_text((f"subjectAltName={alternative}\n" if names else "") +
                          ("basicConstraints=CA:TRUE\n" if issuer is None else ""))
    run = lambda *words: subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
    run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
        "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
    signer = (["-signkey", folder / f"{name}.key"] if issuer is None else
              ["-CA", folder / f"{issuer}.crt", "-CAkey", folder / f"{issuer}.key", "-CAcreateserial"])
    run("x509", "-req", "-in", folder / f"{name}.csr", "-days", days, "-extfile", extensions,
        "-out", folder / f"{name}.crt", *signer)
    return folder / f"{name}.crt", folder / f"{name}.key"


@pytest.fixture
def folder(cluster):
    made = cluster.folder("tls")
    identity(made, "ca")
    identity(made, "shop", "shop.example", issuer="ca")
    identity(made, "wild", "*.wild.example", issuer="ca")
    identity(made, "user", issuer="ca")
    return made


def connect(folder, name, port=PORT, certificate=None, **limits):
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    for key, value in limits.items():
        setattr(context, key, value)
    if certificate:
        context.load_cert_chain(folder / f"{certificate}.crt", folder / f"{certificate}.key")
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5), server_hostname=name)


def get(connection, host, path="/whoami"):
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return f"HTTP/1.1 {answer.status}", answer.read().decode()


def edge(programs, block=""):
    return f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen {PORT} http tls {{
            certificate tls/shop.crt key=tls/shop.key;
            certificate tls/wild.crt key=tls/wild.key;
            {block}
            route / -> web;
        }}"""


def test_certificates_are_chosen_by_name(cluster, programs, folder):
    cluster.up(edge(programs))
    cluster.wait_up(2)
    for name in ("shop.example", "a.wild.example"):
        with connect(folder, name) as connection:
            assert connection.version() == "TLSv1.3"
            head, body = get(connection, name)
            assert head.startswith("HTTP/1.1 200") and body.split()[0] in "12"
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(folder, "other.example")


def test_versions(cluster, programs, folder):
    cluster.up(edge(programs, "tls min=1.3;"))
    cluster.wait_up(2)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(folder, "shop.example", maximum_version=ssl.TLSVersion.TLSv1_2)
    connect(folder, "shop.example").close()


def test_client_certificates(cluster, programs, folder):
    cluster.up(edge(programs, "tls client=require client-ca=tls/ca.crt;"))
    cluster.wait_up(2)
    with connect(folder, "shop.example", certificate="user") as connection:
        assert get(connection, "shop.example")[0].startswith("HTTP/1.1 200")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with connect(folder, "shop.example") as connection:
            raise AssertionError(get(connection, "shop.example"))


def test_a_new_certificate_without_a_break(cluster, programs, folder):
    cluster.up(edge(programs))
    cluster.wait_up(2)
    held = connect(folder, "shop.example")
    before = held.getpeercert()["serialNumber"]
    identity(folder, "shop", "shop.example", issuer="ca")
    cluster.command("reload")

    def renewed():
        with connect(folder, "shop.example") as connection:
            return connection.getpeercert()["serialNumber"] != before
    cluster.wait(renewed, 5, "the new certificate")
    assert get(held, "shop.example")[0].startswith("HTTP/1.1 200")


def test_sessions_are_resumed_by_the_next_gateway(cluster, programs, folder):
    cluster.up(edge(programs))
    cluster.wait_up(2)
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose session the handshake itself brings

    def handshake(session=None):
        connection = context.wrap_socket(socket.create_connection(("127.0.0.1", PORT), 5),
                                         server_hostname="shop.example", session=session)
        get(connection, "shop.example")
        return connection

    first = handshake()
    assert handshake(first.session).session_reused
    gateway = cluster.status()["gateway_pid"]
    os.kill(gateway, 9)
    cluster.wait(lambda: cluster.status()["gateway_pid"] not in (0, gateway), 5, "another gateway")
    assert handshake(first.session).session_reused


def test_plain_http_to_a_tls_port_is_cut_and_others_are_served(cluster, programs, folder):
    cluster.up(edge(programs))
    cluster.wait_up(2)
    with pytest.raises((http.client.HTTPException, OSError)):
        clients.ask(PORT)
    with connect(folder, "shop.example") as connection:
        assert get(connection, "shop.example")[0].startswith("HTTP/1.1 200")


def test_tls_ends_in_a_relay(cluster, programs, folder):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen {PORT} tcp tls -> web {{ certificate tls/shop.crt key=tls/shop.key; }}""")
    cluster.wait_up(2)
    with connect(folder, "shop.example") as connection:
        assert get(connection, "shop.example")[1].split()[0] in "12"


TLS_PROGRAM = """
import asyncio, os, ssl, sys
async def serve(reader, writer):
    try:
        while True:
            await reader.readuntil(b"\\r\\n\\r\\n")
            body = (os.environ["WHO"] + " " + str(os.getpid())).encode()
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server = await asyncio.start_server(serve, "0.0.0.0", 9443, ssl=context)
    await server.serve_forever()
asyncio.run(main())
"""


def test_tls_is_passed_through_by_name(cluster, programs, folder):
    program = cluster.file("secure.py", TLS_PROGRAM)
    cluster.up(f"""
        service shop {{ run /usr/bin/python3 {program} tls/shop.crt tls/shop.key; env WHO=shop; }}
        service wild {{ run /usr/bin/python3 {program} tls/wild.crt tls/wild.key; env WHO=wild; }}
        listen {PORT} tcp {{ sni shop.example -> shop; sni *.wild.example -> wild; }}""")
    cluster.wait_up(1, "shop")
    cluster.wait_up(1, "wild")
    for name, expected in (("shop.example", "shop"), ("b.wild.example", "wild")):
        with connect(folder, name) as connection:
            assert get(connection, name)[1].split()[0] == expected
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(folder, "other.example")


@pytest.mark.parametrize("tls,status", [
    ("tls name=shop.example ca=tls/ca.crt;", 200), ("tls name=other.example ca=tls/ca.crt;", 502),
    ("tls name=shop.example;", 502), ("tls verify=no;", 200),
])
def test_endpoints_are_verified(cluster, programs, folder, tls, status):
    program = cluster.file("secure.py", TLS_PROGRAM)
    cluster.up(f"""
        service secure {{ run /usr/bin/python3 {program} tls/shop.crt tls/shop.key; env WHO=s; {tls} }}
        listen 8080 http {{ route / -> secure; }}""")
    cluster.wait_up(1)
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
    for _ in range(3):
        connection.request("GET", "/whoami")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status


def test_a_bad_certificate_changes_nothing(cluster, programs, folder):
    cluster.up(edge(programs))
    cluster.wait_up(2)
    (folder / "shop.key").write_text((folder / "wild.key").read_text())
    done = cluster.command("reload", check=False)
    assert done.returncode != 0 and "shop" in done.stdout + done.stderr
    with connect(folder, "shop.example") as connection:
        assert get(connection, "shop.example")[0].startswith("HTTP/1.1 200")


def test_a_reload_that_turns_tls_on_reaches_kept_connections(cluster, programs, folder):
    """What was opened without TLS carries nothing more once the file asks for it."""
    program = cluster.file("secure.py", TLS_PROGRAM)
    text = f"""
        service secure {{ run /usr/bin/python3 {program} tls/shop.crt tls/shop.key; env WHO=s; }}
        service plain {{ run {programs.python("web")}; env WHO=p; }}
        gateway threads=1;
        service web {{ at 127.0.0.1:9100; TLS }}
        listen 9100 tcp -> TARGET;
        listen 8080 http {{ route / -> web; }}"""
    cluster.up(text.replace("TLS", "").replace("TARGET", "plain"))
    cluster.wait_up(1, "secure")
    cluster.wait_up(1, "plain")
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)

    def who():
        connection.request("GET", "/whoami")
        answer = connection.getresponse()
        return answer.status, answer.read().decode().split()[0]

    assert who() == (200, "p")
    cluster.configure(text.replace("TLS", "tls verify=no;").replace("TARGET", "secure"))
    cluster.command("reload")
    assert who() == (200, "s"), "the kept connection without TLS was used"
