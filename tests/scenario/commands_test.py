"""The command line: run, up --detach, check, help, version."""

import re
import subprocess

import pytest

from harness import clients


@pytest.mark.both_accounts
def test_run_detached(cluster, programs):
    done = cluster.command("run", "-n", "2", "--detach", "--name", "site", "--", "node",
                           programs.path("web.js"))
    assert done.returncode == 0
    cluster.wait_up(2)  # up already: --detach returns when it is
    assert clients.ask(3000)
    cluster.down()
    assert clients.refused(3000)


@pytest.mark.both_accounts
def test_up_detached(cluster, programs):
    path = cluster.configure(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}""")
    cluster.command("up", "--detach", path)
    cluster.wait_up(2)
    assert set(clients.who_answers(8000, 20)) == {"1", "2"}
    cluster.down()


def test_up_detached_gives_up(cluster):
    path = cluster.configure("""
        service bad { run /bin/false; }
        service good { run /bin/sleep 1000; }""")
    done = cluster.command("up", "--detach", path, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    for word in ("bad.1 does not come up", "exited with status 1", f"cluster {cluster.name} runs on", "enginx down"):
        assert word in last, done.stderr
    assert cluster.service("good")["instances"][0]["pid"]
    cluster.down()


def test_options_of_run(cluster, programs):
    cluster.run("-n", "2", "-p", "8000", "--user", "nobody", "--memory", "256m", "--cpu", "90%",
                "--", "/usr/bin/python3", programs.path("web.py"))
    cluster.wait_up(2)
    assert cluster.service()["ports"] == ["tcp:8000"]
    assert cluster.service()["name"]


def test_global_options_after_the_command(cluster, programs):
    cluster.up(f"service web {{ run {programs.python('web')}; env WHO=$instance; }}")
    cluster.wait_up(1)
    done = subprocess.run([cluster.binary, "status", "--json", "-c", cluster.name, "--state",
                           cluster.state, "--cgroup", cluster.cgroup], capture_output=True, text=True)
    assert done.returncode == 0 and cluster.name in done.stdout


def test_check(cluster, programs):
    path = cluster.configure(f"""
        service web {{ run {programs.python("web")}; }}
        listen 8080 tcp -> web;""")
    assert cluster.command("check", path).returncode == 0
    said = cluster.command("check", path, "--explain").stdout
    assert "direct" in said and "web" in said


def test_check_tells_jobs_from_services(cluster):
    path = cluster.configure("""
        service store { run /bin/sleep 9; port 8000; }
        job backup { run /bin/true; at 03:00; timeout 90s; uses store; }
        job mail { run /bin/true; every 1m; overlap queue; }
        job migrate { run /bin/true; }""")
    said = cluster.command("check", path, "--explain").stdout.splitlines()
    assert said[0].endswith("1 services, 3 jobs, 0 listeners: fine")
    assert said[-3:] == ["job        backup: at 03:00, timeout 90s, uses store",
                         "job        mail: every 1m, overlap queue",
                         "job        migrate: when it is asked for"]
    assert sum(line.startswith("service ") for line in said) == 1
    path = cluster.configure("job lost { run ./nowhere; }")
    assert "job lost: the program `./nowhere` is not there" in cluster.command("check", path).stderr


def test_help_and_version(cluster):
    assert re.match(r"enginx \d+\.\d+\.\d+", cluster.command("version").stdout)
    text = cluster.command("help").stdout
    for word in ("run", "up", "check", "status", "logs", "scale", "drain", "restart", "down"):
        assert re.search(rf"\b{word}\b", text), word
    about = cluster.command("help", "instances").stdout
    assert "1024" in about
    done = cluster.command("help", "instancs", check=False)
    assert done.returncode == 2 and "instances" in done.stderr + done.stdout
    for arguments in (["--help"], ["up", "--help"], ["--version"]):
        assert cluster.command(*arguments).stdout
