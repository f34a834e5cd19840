"""Responses that lead elsewhere: X-Accel-Redirect to another route, X-Sendfile to a file; from HTTP
and from PHP, only where the route says so, and never out of what it allows."""

import http.client
import json
import os
import shutil
import urllib.parse

import pytest

from harness import clients, processes
from harness.origins import Origin, request_read

PORT = 18120
FPM = next((name for name in ("php-fpm8.2", "php-fpm") if shutil.which(name)), None)
SECRET = b"0123456789" * 20000


def led(connection):
    """Answers with the fields (and the status) that the query names: a service that echoes."""
    while True:
        head, body = request_read(connection)
        if not head:
            return
        target = head.split(b" ")[1].decode()
        asked = urllib.parse.parse_qsl(urllib.parse.urlsplit(target).query, keep_blank_values=True)
        if "loop" in target.split("?")[0]:
            asked = [("X-Accel-Redirect", "/again/loop")]
        fields = "".join(f"{name}: {value}\r\n" for name, value in asked if name != "status")
        status = dict(asked).get("status", "200")
        text = f"{head.split(b' ')[0].decode()} {target} {len(body)} the service's own words".encode()
        if "cut" in target:
            fields, text = fields + "Content-Length: 1000\r\n", b"half"
        else:
            fields += f"Content-Length: {len(text)}\r\n"
        connection.sendall(f"HTTP/1.1 {status} Fine\r\n{fields}\r\n".encode() + text)


def ask(path, method="GET", body=None, headers=None, **fields):
    if fields:
        path += "?" + urllib.parse.urlencode({name.replace("_", "-"): value for name, value in fields.items()})
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    answer.text = answer.read()
    connection.close()
    return answer


def log_of(cluster):
    path = cluster.state / "log" / "access.log"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def site(cluster):
    for name, text in (("private/a.txt", SECRET), ("private/deep/my file.pdf", b"%PDF"),
                       ("outside.txt", b"no"), ("private/.env", b"dot")):
        cluster.file(name, text.decode())
    os.symlink("../outside.txt", cluster.directory / "private/out.txt")
    with Origin(led) as origin:
        cluster.up(f"""
            service app {{ at {origin.text}; }}
            cache pages;
            listen {PORT} http {{
                access-log text;
                route / -> app;
                route /led/ -> app {{ x-accel-redirect; x-sendfile private; }}
                route /kept/ -> app {{ x-accel-redirect; x-sendfile private; cache pages ttl=1m; }}
                route /files-only/ -> app {{ x-sendfile private; }}
                route /again/ -> app {{ x-accel-redirect; internal; }}
                route /protected/ -> files ./private {{ internal; rewrite strip=/protected;
                                                        header response set X-Rule yes; }}
            }}""")
        processes.wait_for(lambda: not clients.refused(PORT), 5, "the listener")
        yield cluster


def test_a_path(site):
    answer = ask("/led/", X_Accel_Redirect="/protected/a.txt", Content_Type="text/x-secret", Set_Cookie="a=b",
                 Cache_Control="private", Content_Disposition="attachment", X_Other="gone", status="201")
    assert answer.status == 200 and answer.text == SECRET
    found = {name: answer.getheader(name) for name in
             ("Content-Type", "Set-Cookie", "Cache-Control", "Content-Disposition", "X-Other", "X-Rule",
              "X-Accel-Redirect", "Content-Length")}
    assert found == {"Content-Type": "text/x-secret", "Set-Cookie": "a=b", "Cache-Control": "private",
                     "Content-Disposition": "attachment", "X-Other": None, "X-Rule": "yes",
                     "X-Accel-Redirect": None, "Content-Length": str(len(SECRET))}
    # Without a type of the service's the file has its own; what a path cannot hold is encoded.
    answer = ask("/led/", X_Accel_Redirect="/protected/deep/my file.pdf")
    assert answer.text == b"%PDF" and answer.getheader("Content-Type") == "application/pdf"
    answer = ask("/led/", X_Accel_Redirect="/protected/deep/my%20file.pdf?x=1", cut="1")
    assert answer.text == b"%PDF"


def test_ranges_and_conditions(site):
    whole = ask("/led/", X_Accel_Redirect="/protected/a.txt")
    part = ask("/led/", headers={"Range": "bytes=5-14"}, X_Sendfile=f"{site.directory}/private/a.txt")
    assert part.status == 206 and part.text == SECRET[5:15]
    same = ask("/led/", headers={"If-None-Match": whole.getheader("ETag")}, X_Accel_Redirect="/protected/a.txt",
               Set_Cookie="a=b")
    assert same.status == 304 and not same.text and same.getheader("Set-Cookie") == "a=b"
    head = ask("/led/", method="HEAD", X_Accel_Redirect="/protected/a.txt")
    assert head.status == 200 and head.getheader("Content-Length") == str(len(SECRET))
    posted = ask("/led/", method="POST", body=b"x" * 100000, X_Accel_Redirect="/protected/a.txt")
    assert posted.status == 200 and posted.text == SECRET


def test_only_where_it_is_said(site):
    for path in ("/", "/files-only/"):
        answer = ask(path, X_Accel_Redirect="/protected/a.txt")
        assert b"own words" in answer.text and answer.getheader("X-Accel-Redirect") == "/protected/a.txt"
    answer = ask("/", X_Sendfile=f"{site.directory}/private/a.txt")
    assert b"own words" in answer.text
    for path in ("/protected/a.txt", "/again/", "/protected/", "/%70rotected/a.txt", "/led/../protected/a.txt"):
        assert ask(path).status == 404, path
    # What a client sends itself means nothing.
    assert b"own words" in ask("/led/", headers={"X-Accel-Redirect": "/protected/a.txt"}).text


def test_nothing_beyond(site):
    folder = f"{site.directory}/private"
    for name, status in ((f"{site.directory}/outside.txt", 502), ("/etc/passwd", 502), (folder, 502), (f"{folder}/", 502),
                         ("a.txt", 502), (f"{folder}x/a.txt", 502), (f"{folder}/../outside.txt", 404),
                         (f"{folder}/out.txt", 404), (f"{folder}/deep", 404), (f"{folder}/none", 404), ("", 502),
                         (f"{folder}/" + "x" * 5000, 502), (f"{folder}/" + "x" * 300, 404)):
        answer = ask("/files-only/", X_Sendfile=name)
        assert answer.status == status and b"root:" not in answer.text, (name, answer.status)
    for path, status in (("protected/a.txt", 502), ("", 502), ("http://127.0.0.1/x", 502), ("/../etc/passwd", 502),
                         ("/protected/%2e%2e/outside.txt", 200), ("/protected/..%2foutside.txt", 404),
                         ("/protected/.env", 404), ("/protected/out.txt", 404), ("/protected/none", 404),
                         ("/%00", 502), ("@name", 502)):
        answer = ask("/led/", X_Accel_Redirect=path)
        assert answer.status == status and b"no" != answer.text, (path, answer.status, answer.text)
    assert ask("/files-only/", X_Sendfile=f"{folder}/deep/my file.pdf").text == b"%PDF"
    assert ask("/files-only/", X_Sendfile=f"{folder}//.env").text == b"dot"  # the service's decision


def test_from_service_to_service(site):
    answer = ask("/led/", method="POST", body=b"abc", X_Accel_Redirect="/again/?Set-Cookie=c%3Dd", Set_Cookie="a=b")
    assert answer.text.startswith(b"GET /again/?Set-Cookie=c%3Dd 0 ")
    assert sorted(answer.msg.get_all("Set-Cookie")) == ["a=b", "c=d"]
    circle = "/again/"
    for _ in range(3):
        circle = "/again/?" + urllib.parse.urlencode({"X-Accel-Redirect": circle})
    assert b"own words" in ask("/led/", X_Accel_Redirect=circle).text
    assert ask("/led/", X_Accel_Redirect="/again/loop").status == 502
    # The log has what the client asked for.
    lines = processes.wait_for(lambda: [line for line in log_of(site) if "loop" in line], 5, "the log")
    assert '"GET /led/?X-Accel-Redirect=%2Fagain%2Floop' in lines[0] and "circle" in lines[0], lines
    assert len(lines) == 1


def test_what_leads_elsewhere_is_not_cached(site):
    for _ in range(2):
        for path in ("/protected/a.txt", "/again/x"):
            answer = ask("/kept/", X_Accel_Redirect=path)
            assert (answer.text == SECRET) == (path == "/protected/a.txt") and answer.status == 200
            assert "hit" not in (answer.getheader("Cache-Status") or "")
        assert ask("/kept/", X_Sendfile=f"{site.directory}/private/a.txt").text == SECRET
    assert b"own words" in ask("/kept/").text
    assert "hit" in ask("/kept/").getheader("Cache-Status")


def test_a_kept_connection_goes_on(site):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    query = urllib.parse.urlencode({"X-Accel-Redirect": "/protected/a.txt"})
    for _ in range(5):
        connection.request("POST", f"/led/?{query}", body=b"x" * 5000)
        assert connection.getresponse().read() == SECRET
    connection.close()


@pytest.mark.skipif(FPM is None, reason="PHP-FPM is not installed")
def test_php(cluster):
    cluster.file("private/a.txt", SECRET.decode())
    cluster.file("www/index.php", """<?php header("X-Accel-Redirect: /protected/a.txt");
        header("Content-Type: application/x-mine"); echo "never";""")
    cluster.file("www/send.php", """<?php header("X-Sendfile: " . dirname(__DIR__) . "/private/a.txt");""")
    cluster.file("fpm.conf", "\n".join(["[global]", "daemonize = no", "error_log = /dev/stderr", "[www]", "user = root",
                                        "listen = 9000", "pm = static", "pm.max_children = 2"]) + "\n")
    cluster.up(f"""
        service php {{ run {FPM} -F -R -n -y {cluster.directory}/fpm.conf; speaks fastcgi; capacity idle=1; }}
        gateway threads=1;
        listen {PORT} http {{
            route / -> php root=www {{ x-accel-redirect; x-sendfile private; }}
            route /protected/ -> files ./private {{ internal; rewrite strip=/protected; }} }}""")
    cluster.wait_up(1)
    for _ in range(3):
        answer = ask("/")
        assert answer.text == SECRET and answer.getheader("Content-Type") == "application/x-mine"
        assert answer.getheader("X-Powered-By") is None
    assert ask("/send.php", headers={"Range": "bytes=0-4"}).text == SECRET[:5]
