"""Steps before an instance's start and after its end: their order, their failures, once for all instances, and
crashes in the midst of one."""

import os
import re
import signal
import threading

import pytest

from harness import clients


def lines(path):
    return path.read_text().split("\n")[:-1]


def ledger(cluster, name="ledger"):
    path = cluster.file(name, "")
    path.chmod(0o666)
    return path


def step_of(cluster, number=1):
    return cluster.instances("web")[number]["step"]


def web(programs, more):
    return f"service web {{ run {programs.python('web')}; env WHO=$instance; {more} }}\n"


@pytest.mark.both_accounts
def test_their_order_and_what_they_are_told(cluster, programs):
    out = ledger(cluster)
    how = "$ENGINX_RESULT $ENGINX_EXIT_CODE $ENGINX_EXIT_STATUS"
    cluster.up(web(programs, f"""
        before-start shell 'echo "first $ENGINX_STEP $WHO" >> {out}; echo said before';
        before-start shell 'echo "second $PWD" >> {out}';
        after-stop shell 'echo "after {how}" >> {out}'; after-stop /bin/false;
        after-stop shell 'echo last >> {out}';"""))
    cluster.wait_up(1)
    begin = ["first before-start 1", f"second {cluster.directory}"]
    assert lines(out) == begin
    assert "said before" in cluster.command("logs", "web").stdout
    os.kill(cluster.pid(1), signal.SIGKILL)
    cluster.wait(lambda: len(lines(out)) == 6, 10, "the next start")
    assert lines(out)[2:] == ["after signal killed KILL", "last"] + begin
    assert "step-failed" in cluster.output and "/bin/false" in cluster.output
    cluster.wait_up(1)
    assert cluster.instances()[1]["exit"] == "killed by SIGKILL" and cluster.instances()[1]["step"] is None
    cluster.command("restart", "web", timeout=30)
    assert lines(out)[6:] == ["after success killed TERM", "last"] + begin
    cluster.command("down", timeout=30)
    cluster.process.wait(10)
    assert lines(out)[10:] == ["after success killed TERM", "last"]


def test_one_that_fails_or_takes_too_long_is_a_failed_start(cluster, programs):
    out = ledger(cluster)
    cluster.up(web(programs, f"""
        before-start shell 'echo try >> {out}; [ -e {out}.go ] || exit 7'; restart always backoff=100ms..200ms tries=0;
        after-stop shell 'echo "$ENGINX_RESULT $ENGINX_EXIT_STATUS" >> {out}';"""))
    cluster.wait(lambda: lines(out).count("try") >= 3, 10, "tries")
    assert lines(out)[:3] == ["try", "before-start 7", "try"]
    cluster.wait(lambda: "exited with status 7" in (cluster.instances()[1]["reason"] or ""), 5, "the reason")
    assert "before-start" in cluster.instances()[1]["reason"]
    (cluster.directory / "ledger.go").touch()
    cluster.wait_up(1)
    cluster.configure(web(programs, f"before-start sleep 60 timeout=200ms; stop SIGTERM within=1s; roll surge=0;"
                                    f"after-stop shell 'echo \"$ENGINX_RESULT\" >> {out}';"))
    done = cluster.command("reload", "--wait", check=False, timeout=30)
    assert done.returncode == 1 and "sleep 60" in done.stderr and "took longer than 200 ms" in done.stderr, done.stderr
    cluster.wait_up(1)
    assert "timeout" in lines(out)


@pytest.mark.both_accounts
def test_a_step_is_no_server_and_reaches_what_the_service_uses(cluster, programs, account):
    """It listens on the service's own port while the others serve, and connects to what is used at its port."""
    out = ledger(cluster)
    gate = cluster.directory / "gate"
    step = cluster.file("step.py", f"""
import os, socket, time, urllib.request
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    listener.bind(("127.0.0.1", 8100))
    listener.listen()
except OSError:
    pass  # connections wait there for the program
used = urllib.request.urlopen("http://127.0.0.1:8000/whoami").read().decode().split()[0]
print("reached", used, flush=True)
open({str(out)!r}, "a").write("listens\\n")
while not os.path.exists({str(gate)!r}):
    time.sleep(0.02)
""")
    cluster.up(f"""
        service other {{ run {programs.python("web")}; env WHO=other; port 8000; }}
        service base {{ run {programs.python("web")}; env WHO=base; port 8000; }}
        service web {{ run {programs.python("web")}; env WHO=$instance PORT=8100; port 8100; uses base; stop SIGTERM drain=500ms;
                       before-start python3 {step}; }}
        listen 8080 tcp -> web;""")
    cluster.wait(lambda: len(lines(out)) == 1, 20, "the step")
    clients.who_answers(8000, 1)  # whatever was to be heard of the step's listener was heard before
    assert cluster.instances("web")[1]["ports"] == [] and clients.refused(8080)
    gate.touch()
    cluster.wait_up(1, "web", within=20)
    assert "reached base" in cluster.command("logs", "web").stdout
    with clients.Load(8080, 4) as load:
        load.wait_more(20)
        gate.unlink()
        restart = threading.Thread(target=cluster.command, args=("restart", "web"))
        restart.start()
        cluster.wait(lambda: len(lines(out)) == 2, 10, "the step")
        assert step_of(cluster).startswith("before-start python3")
        gate.touch()
        restart.join()
        cluster.wait_up(1, "web")
        load.wait_more(20)
    assert load.refused == 0
    if account.root:  # else it is never quiet under load, and is stopped with what is open
        assert not load.failed, load.failed[:5]
    assert cluster.command("logs", "web").stdout.count("reached base") == 2


def test_once_for_all_instances(cluster, programs):
    out = ledger(cluster)
    text = """instances 3; before-start once shell 'echo "migrates $WHO" >> {out}; [ -e {out}.fails ] && exit 1; sleep 0.3;
              echo done >> {out}'; before-start shell 'echo each >> {out}'; {more}"""
    cluster.up(web(programs, text.format(out=out, more="")))
    cluster.wait_up(3)
    assert lines(out) == ["migrates 1", "done"] + ["each"] * 3
    os.kill(cluster.pid(2), signal.SIGKILL)
    cluster.wait(lambda: len(lines(out)) == 6, 10, "its next start")
    cluster.wait_up(3)
    assert lines(out)[5:] == ["each"]
    cluster.command("roll", "web", timeout=60)
    rolled = lines(out)[6:]
    assert len([line for line in rolled if line.startswith("migrates")]) == 1 and rolled[1] == "done", rolled
    cluster.command("scale", "web=4", timeout=30)
    cluster.wait_up(4)
    assert len([line for line in lines(out) if line == "done"]) == 2
    fails = cluster.file("ledger.fails", "")
    before = {number: one["pid"] for number, one in cluster.instances().items()}
    cluster.configure(web(programs, text.format(out=out, more="env VERSION=2;")))
    done = cluster.command("reload", "--wait", check=False, timeout=60)
    assert done.returncode == 1 and "before-start" in done.stderr and "status 1" in done.stderr, done.stderr
    assert {number: one["pid"] for number, one in cluster.instances().items()} == before
    assert len([line for line in lines(out) if line == "done"]) == 2
    fails.unlink()


def test_who_waits_fails_with_who_tries(cluster, programs):
    cluster.up(web(programs, "instances 2; before-start once /bin/false; restart always backoff=10ms..20ms tries=3;"))
    cluster.wait(lambda: [one["state"] for one in cluster.instances().values()] == ["failed"] * 2, 10, "both to fail")
    assert len(re.findall("step-failed", cluster.output)) == 3
    assert "web.1 failed" in cluster.instances()[2]["reason"]


@pytest.mark.both_accounts
def test_a_crash_in_the_midst(cluster, programs):
    out = ledger(cluster)
    wait = "while ! [ -e {gate} ]; do sleep 0.05; done"
    up, down = cluster.directory / "up", cluster.directory / "down"
    cluster.up(web(programs, f"""
        instances 2; before-start once shell 'echo begin >> {out}; {wait.format(gate=up)}; echo end >> {out}';
        after-stop shell 'echo after >> {out}; {wait.format(gate=down)}; echo over >> {out}';"""))
    cluster.wait(lambda: lines(out) == ["begin"], 10, "the step")
    pid = cluster.pid(1)
    cluster.kill_supervisor()
    cluster.up(None)
    cluster.wait(lambda: cluster.status() and step_of(cluster), 10, "it to be found")
    assert cluster.pid(1) == pid and lines(out) == ["begin"]
    up.touch()
    cluster.wait_up(2, within=15)
    # Where the kernel does not tell how an adopted process ended it is done again, once.
    assert lines(out) in (["begin", "end"], ["begin", "end", "begin", "end"])
    count = len(lines(out))
    os.kill(cluster.pid(2), signal.SIGKILL)
    cluster.wait(lambda: len(lines(out)) == count + 1, 10, "the step after its end")
    assert cluster.instances()[2]["state"] == "finishing"
    cluster.kill_supervisor()
    cluster.up(None)
    cluster.wait(lambda: cluster.status() and cluster.instances()[2]["state"] == "finishing", 10, "it to be found")
    down.touch()
    cluster.wait_up(2, within=15)
    assert lines(out)[count:] == ["after", "over"]
    # One that ends while no supervisor lives has its steps when there is one again.
    pid = cluster.pid(1)
    cluster.kill_supervisor()
    os.kill(pid, signal.SIGKILL)
    cluster.up(None)
    cluster.wait(lambda: lines(out)[count + 2:] == ["after", "over"], 10, "the steps of one that ended unseen")
    cluster.wait_up(2, within=15)
