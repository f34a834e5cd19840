"""`enginx graph`: pictures of a file and of what runs, read by graphviz and by an XML parser."""

import re
import subprocess
import xml.etree.ElementTree

from harness import clients

SVG = "{http://www.w3.org/2000/svg}"


def configuration(programs):
    return f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; port 8000; uses store; }}
        service store {{ run {programs.python("web")}; env WHO=store; port 8001; env PORT=8001; }}
        service far {{ at 127.0.0.1:7 127.0.0.1:9; }}
        job report {{ shell 'exit 3'; at 03:00; uses store; }}
        listen 8080 http {{
            host "a.example" {{ route / -> web; route /b -> web; }}
            route / -> web;
            route /far/ -> far;
            route =/hi {{ respond 200 "hi"; }}
        }}
        listen 8090 tcp -> web;"""


def drawn(*arguments):
    return subprocess.run(["dot", *arguments[:-1]], input=arguments[-1], capture_output=True, text=True,
                          timeout=30, check=True).stdout


def texts(svg):
    root = xml.etree.ElementTree.fromstring(svg)
    return ["".join(one.itertext()) for one in root.iter() if one.tag in (SVG + "text", SVG + "title")]


def test_file(cluster, programs):
    path = cluster.configure(configuration(programs))
    text = cluster.command("graph", path).stdout
    assert "      -> web  a.example / +2\n" in text
    assert "      uses store\n" in text and "      -> 127.0.0.1:9\n" in text
    assert text.endswith("\njobs\n  report  at 03:00\n      uses store\n")
    edges = [line.split() for line in
             drawn("-Tplain", cluster.command("graph", path, "--format", "dot").stdout).splitlines()
             if line.startswith("edge")]
    assert len(edges) == 8  # http to three, tcp to one, two uses, two remotes
    shown = texts(cluster.command("graph", path, "--format=svg").stdout)
    assert {"web", "store", "far", "report", "at 03:00", "tcp:8080", "2 instances", "a.example / +2"} <= set(shown)
    assert cluster.command("graph", path, "--format", "png", check=False).returncode == 2


def test_live(cluster, programs):
    cluster.up(configuration(programs))
    cluster.wait_up(2, "web")
    cluster.wait_up(1, "store")
    assert clients.answer(8080)
    text = cluster.command("graph").stdout
    assert "as it runs" in text and "2 of 2 up" in text and "requests/s" in text
    assert "      uses store\n" in text
    assert re.search(r"\njobs\n  report  at 03:00, next \S+\n", text)
    assert cluster.command("job", "run", "report", check=False).returncode == 1
    assert "last exited with status 3\n" in cluster.command("graph").stdout
    cluster.command("drain", "web.2")
    assert "      web.2 draining\n" in cluster.command("graph").stdout
    shown = texts(cluster.command("graph", "--format", "svg").stdout)
    assert {"web.1 up", "web.2 draining", "store.1 up"} <= set(shown)
    assert "web.2 draining" in drawn("-Tplain", cluster.command("graph", "--format", "dot").stdout)
