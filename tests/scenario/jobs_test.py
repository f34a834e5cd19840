"""Jobs: run at their times and by hand, what happens when runs meet, and crashes in the middle of one."""

import pytest


def job(cluster, name):
    status = cluster.status()
    return next((each for each in status["jobs"] if each["name"] == name), None) if status else None


def lines(path):
    return path.read_text().split() if path.exists() else []


@pytest.mark.both_accounts
def test_runs(cluster):
    out = cluster.file("out", "")
    out.chmod(0o666)
    cluster.up(f"""job tick {{ shell 'echo tick >> {out}'; every 1s; history 2; }}
                   job good {{ shell 'echo said by good'; }}
                   job bad {{ shell 'exit 3'; }}
                   job slow {{ run /bin/sleep 60; timeout 200ms; }}
                   job absent {{ run /nowhere/at-all; }}""")
    cluster.wait(lambda: len(lines(out)) >= 3, 15, "three runs")
    tick = job(cluster, "tick")
    assert len(tick["history"]) == 2 and tick["history"][0]["ok"] and tick["next"]
    assert cluster.status()["services"] == []
    assert cluster.command("job", "run", "good").returncode == 0
    assert job(cluster, "good")["next"] is None
    for name, why in (("bad", "status 3"), ("slow", "took too long"), ("absent", "no such file"), ("none", "no such job")):
        ended = cluster.command("job", "run", name, check=False)
        assert ended.returncode == 1 and why in (ended.stdout + ended.stderr).lower(), name
    assert "next run" in cluster.command("status").stdout
    assert cluster.command("restart", "bad", check=False).returncode == 1


def test_runs_that_meet(cluster):
    out = {how: cluster.file(how, "") for how in ("skip", "queue", "replace")}
    cluster.up("".join(f"job {how} {{ shell 'echo b >> {path}; sleep 2.5; echo e >> {path}'; every 1s; overlap {how}; }}\n"
                       for how, path in out.items()))
    cluster.wait(lambda: all(lines(path).count("b") >= 3 for path in out.values()), 30, "three runs of each")
    for how in ("skip", "queue"):
        assert "bb" not in "".join(lines(out[how])), how
    assert "e" not in lines(out["replace"])
    # One alone waits; only a job that queues has one that does.
    cluster.wait(lambda: 'job=queue why="another run waits already"' in cluster.output, 15, "one too many")
    assert 'job=skip why="the run before is not over"' in cluster.output
    assert 'job=queue why="the run before' not in cluster.output and "job=replace why" not in cluster.output


def test_a_crash_in_the_midst(cluster):
    out = cluster.file("out", "")
    gate = cluster.directory / "gate"
    cluster.up(f"job long {{ shell 'echo b >> {out}; while ! [ -e {gate} ]; do sleep 0.1; done; echo e >> {out}'; every 2s; }}")
    cluster.wait(lambda: lines(out) == ["b"], 15, "the run")
    pid = job(cluster, "long")["pid"]
    cluster.kill_supervisor()
    cluster.up(None)
    cluster.wait(lambda: (job(cluster, "long") or {}).get("running"), 15, "it to be found")
    assert job(cluster, "long")["pid"] == pid and lines(out) == ["b"]
    gate.touch()
    cluster.wait(lambda: job(cluster, "long")["history"], 15, "its end")
    assert lines(out)[:2] == ["b", "e"]


def crash(cluster):
    cluster.kill_supervisor()
    cluster.up(None)
    cluster.wait(cluster.status, 15, "an answer")


@pytest.mark.both_accounts
def test_the_history_goes_on(cluster):
    """Over a crash and an upgrade; not over `down`, nor over the job's removal."""
    one = "job one { shell 'exit $(cat status)'; history 3; }\n"
    status = cluster.file("status", "0")
    cluster.up(one + "job other { run /bin/true; }")
    cluster.wait(lambda: job(cluster, "one") is not None, 10, "an answer")

    def run(code):
        status.write_text(str(code))
        assert cluster.command("job", "run", "one", check=False).returncode == (code != 0)

    def ends():
        return [end["exit"].rpartition(" ")[2] for end in job(cluster, "one")["history"]]
    run(1)
    run(0)
    before = job(cluster, "one")["history"]
    crash(cluster)
    cluster.wait(lambda: job(cluster, "one")["history"] == before, 10, "what was there")
    run(2)
    run(3)
    assert ends() == ["3", "2", "0"]
    cluster.command("upgrade", timeout=60)
    cluster.wait(lambda: job(cluster, "one") and ends() == ["3", "2", "0"], 10, "what was there")
    cluster.command("job", "run", "other")
    cluster.configure(one)
    cluster.command("reload")
    cluster.wait(lambda: not (cluster.state / "jobs" / "other").exists(), 10, "its end")
    assert ends() == ["3", "2", "0"]
    cluster.command("down", timeout=30)
    cluster.process.wait(10)
    cluster.process = None
    assert not (cluster.state / "jobs").exists()
    cluster.up(None)
    cluster.wait(lambda: job(cluster, "one") is not None, 10, "an answer")
    assert ends() == []
