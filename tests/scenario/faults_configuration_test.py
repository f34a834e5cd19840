"""Configurations that are wrong: exit code 2, the place, and nothing is started."""

import os
import re
import subprocess

import pytest

GOOD = "service web { run /bin/true; }"


def refuse(cluster, text, *patterns, command="up", name="enginx.conf"):
    path = cluster.configure(text, name) if text is not None else cluster.directory / name
    done = cluster.command(command, path, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 2, f"exit code {done.returncode}: {said}"
    for pattern in patterns:
        assert re.search(pattern, said, re.IGNORECASE), f"no /{pattern}/ in:\n{said}"
    assert cluster.status() is None
    return said


CASES = {
    "unknown user": ("service web { run /bin/true; user nobody-here; }", ["nobody-here"]),
    "cyclic uses": ("""service a { run /bin/true; uses b; }
                       service b { run /bin/true; uses c; }
                       service c { run /bin/true; uses a; }""", ["a", "b", "c", "cycl|circ|itself|loop"]),
    "uses itself": ("service a { run /bin/true; uses a; }", ["a"]),
    "uses nobody": ("service api { run /bin/true; }\nservice web { run /bin/true; uses apo; }", ["apo", "api"]),
    "duplicate names": (GOOD + "\n" + GOOD, ["web", ":2:"]),
    "no instances": ("service web { run /bin/true; instances 0; }", ["instances"]),
    "too many instances": ("service web { run /bin/true; instances 1025; }", ["1024"]),
    "unknown directive": ("service web { run /bin/true; instancs 3; }", ["instancs", "instances", r"\^"]),
    "no program": ("service web { instances 3; }", ["run"]),
    "no semicolon": ("service web { run /bin/true }", [":1:"]),
    "no end": ("service web { run /bin/true;", ["}"]),
    "bad unit": ("service web { run /bin/true; quota memory=12parsecs; }", ["12parsecs"]),
    "bad port": ("service web { run /bin/true; port 70000; }", ["65535"]),
    "listen to nobody": (GOOD + "\nlisten 80 tcp -> wep;", ["wep", "web"]),
    "udp under another port": ("service e { run /bin/true; port 4000 udp; }\nlisten 4100 udp -> e path=direct;",
                               ["4000", ":2:"]),
    "unknown variable": ("service web { run /bin/true $instanze; }", ["instanze"]),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(cluster, case):
    text, patterns = CASES[case]
    said = refuse(cluster, text, *patterns)
    assert re.search(r"enginx\.conf:\d+:\d+", said), said
    refuse(cluster, text, *patterns, command="check")


def test_the_line_of_an_unknown_user(cluster):
    refuse(cluster, "service web {\n    run /bin/true;\n    user nobody-here;\n}",
           r"enginx\.conf:3:10: error: .*nobody-here", r"3 \|     user nobody-here;\n +\| +\^~+\n", command="check")


MISSING = {
    "program": ("service web { run ./nothing; }", r":1:19: warning: .*`\./nothing` is not there"),
    "program of PATH": ("service web { run no-such-program-1; }", ":1:19: warning: .*not in PATH"),
    "program of another PATH": ("service web { run sleep 1; env PATH=/nowhere; }", ":1:19: warning: .*not in PATH"),
    "a folder to run": ("service web { run /usr; }", "`/usr` is a folder"),
    "not executable": ("service web { run /etc/passwd; }", "`/etc/passwd` is not executable"),
    "directory": ("service web { run sleep 1; directory nothing; }", ":1:38: warning: .*no folder `/.*/nothing`"),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_a_warning(cluster, case):
    text, pattern = MISSING[case]
    done = cluster.command("check", cluster.configure(text))
    assert done.returncode == 0 and re.search(pattern, done.stderr), done
    assert "1 warning" in done.stderr


@pytest.mark.parametrize("text", [
    "service web { run sleep 1; }", "service web { run ./tool; }", "service web { run ${instance}-tool; }",
    "service web { run ../tool; directory part; }", "service web { run ./tool; directory /nowhere/$instance; }",
    "service web { shell \"no-such-program-1\"; }", "service web { run sleep 1; env PATH=$directory/bin; }",
    "service web { at 127.0.0.1:9; }"])
def test_what_is_there_or_not_known_is_none(cluster, text):
    os.chmod(cluster.file("tool", "#!/bin/sh\n"), 0o755)
    cluster.folder("part")
    done = cluster.command("check", cluster.configure(text))
    assert done.returncode == 0 and "warning" not in done.stderr, done


def test_all_errors_at_once(cluster):
    said = refuse(cluster, "quota speed=3;\nservice web { runn x; }\nservice api { port 0; }\n",
                  ":1:", ":2:", ":3:")
    assert said.count("^") >= 3


def test_missing_file(cluster):
    refuse(cluster, None, "no such file", name="nowhere.conf")


@pytest.mark.parametrize("account", ["nobody"], indirect=True)
def test_unreadable(cluster):
    path = cluster.configure(GOOD)
    os.chown(path, 0, 0)
    path.chmod(0o600)
    refuse(cluster, None, "permission denied")


def test_directory(cluster):
    cluster.folder("enginx.d")
    refuse(cluster, None, "directory", name="enginx.d")


def test_binary(cluster):
    refuse(cluster, os.urandom(4096), r"enginx\.conf")


def test_nul_bytes(cluster):
    refuse(cluster, b"service web { run /bin/tr\0ue; }\n", r"enginx\.conf", "byte")


def test_100_megabytes(cluster):
    path = cluster.configure("")
    with open(path, "wb") as file:
        file.truncate(100 << 20)
    refuse(cluster, None, "large|big|bytes|limit|MB|MiB")
    with open(path, "wb") as file:
        for _ in range(100):
            file.write(b"# " + b"x" * ((1 << 20) - 3) + b"\n")
    refuse(cluster, None, "large|big|bytes|limit|MB|MiB")


def test_include_loop(cluster):
    cluster.file("one.conf", 'include "two.conf";')
    cluster.file("two.conf", 'include "one.conf";')
    refuse(cluster, 'include "one.conf";', "include")


def test_include_of_itself(cluster):
    refuse(cluster, 'include "enginx.conf";', "include")


def test_errors_name_the_included_file(cluster):
    cluster.file("parts/web.conf", "\nservice web { runn x; }")
    refuse(cluster, 'include "parts/*.conf";', r"parts/web\.conf:2:15")


def test_wrong_usage(cluster):
    for arguments in (["upp"], ["up", "--no-such-option"], ["run"], ["run", "-n", "0", "--", "true"],
                      ["run", "-n", "9999", "--", "true"], ["scale", "web"], ["scale", "web=x"]):
        done = cluster.command(*arguments, check=False)
        assert done.returncode == 2, f"{arguments}: {done.returncode} {done.stderr}"
        assert done.stderr
    assert "up" in cluster.command("upp", check=False).stderr


def test_nobody_to_talk_to(cluster):
    for command in (["status"], ["down"], ["scale", "web=2"], ["drain", "web.1"], ["restart"]):
        done = cluster.command(*command, check=False)
        assert done.returncode == 1, f"{command}: {done.returncode}"
        assert cluster.name in done.stderr or "running" in done.stderr
    done = subprocess.run([cluster.binary, "--state", cluster.state, "status"], capture_output=True, text=True)
    assert done.returncode == 1 and f"no cluster runs there (no supervisor answers in {cluster.state})" in done.stderr


def keys(folder):
    """Two identities; each key is the other's in what is made of them below."""
    for name in ("a", "b"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", f"/CN={name}.example", "-keyout", folder / f"{name}.key",
                        "-out", folder / f"{name}.crt"], check=True, capture_output=True)


EDGE = """service web {{ run /bin/sleep 1000; }}

listen 8443 http tls {{ certificate tls/a.crt key=tls/{key}.key; route / -> web; }}"""


def test_a_key_that_is_another_certificates(cluster):
    keys(cluster.folder("tls"))
    cluster.configure(EDGE.format(key="a"))
    assert cluster.command("check", cluster.directory / "enginx.conf").returncode == 0
    for command in ("check", "up"):
        refuse(cluster, EDGE.format(key="b"), r"enginx\.conf:3", r"b\.key: the key is not the certificate's", command=command)


def test_a_dry_reload_tries_keys(cluster):
    keys(cluster.folder("tls"))
    cluster.up(EDGE.format(key="a"))
    cluster.wait(cluster.status, what="an answer")
    path = cluster.configure(EDGE.format(key="b"))
    for words in ((), (path,)):
        done = cluster.command("reload", "--dry-run", *words, check=False)
        assert done.returncode == 1, done
        assert "the key is not the certificate's" in done.stderr, done
    cluster.configure(EDGE.format(key="a"))
    assert cluster.command("reload", "--dry-run").returncode == 0


@pytest.mark.parametrize("text", [
    """service web { run /bin/sleep 1000; }
       listen 8080 http { route / -> web { auth jwt key=bad.pem; } }""",
    """service web { at 127.0.0.1:9; tls ca=bad.pem; }
       listen 8080 http -> web;"""])
def test_pem_that_is_none(cluster, text):
    cluster.file("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    refuse(cluster, text, r"bad\.pem", r"enginx\.conf", command="check")
