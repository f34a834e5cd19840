"""Output of instances: to the terminal, to files, and to `logs`, line by line with time and name."""

import re
import subprocess

import pytest

from harness import processes

LINE = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z talker\.1 "


@pytest.mark.both_accounts
def test_lines_have_time_and_name(cluster, programs):
    cluster.up(f"service talker {{ run {programs.python('chatty')}; env LINES=50; port none; }}")
    cluster.wait_up(1)
    processes.wait_for(lambda: "done" in cluster.command("logs").stdout, 5, "the last line")
    lines = cluster.command("logs", "-n", "1000", "talker").stdout.splitlines()
    mine = [line for line in lines if re.match(LINE + r"line \d{6} x+$", line)]
    assert [int(line.split("line ")[1].split()[0]) for line in mine] == list(range(50))
    cluster.wait_output(r"talker\.1.*line 000049")


def test_the_last_lines(cluster, programs):
    cluster.up(f"service talker {{ run {programs.python('chatty')}; env LINES=50; port none; }}")
    cluster.wait_up(1)
    processes.wait_for(lambda: "done" in cluster.command("logs").stdout, 5, "the last line")
    lines = cluster.command("logs", "-n", "3", "talker.1").stdout.splitlines()
    assert len(lines) == 3 and lines[-1].endswith(" done")


def test_one_service_of_several(cluster, programs):
    cluster.up(f"""
        service talker {{ run {programs.python("chatty")}; env LINES=5; port none; }}
        service other  {{ run {programs.python("silent")}; port none; }}""")
    cluster.wait_up(1, "talker")
    cluster.wait_up(1, "other")
    processes.wait_for(lambda: "thinking" in cluster.command("logs", "other").stdout, 5, "a line")
    processes.wait_for(lambda: "done" in cluster.command("logs", "talker").stdout, 5, "a line")
    assert "thinking" not in cluster.command("logs", "talker").stdout
    assert "line" not in cluster.command("logs", "other").stdout
    both = cluster.command("logs").stdout
    assert "thinking" in both and "done" in both
    assert cluster.command("logs", "nobody", check=False).returncode in (1, 2)


@pytest.mark.both_accounts
def test_follow(cluster):
    cluster.up("""
        service talker { shell "i=0; while :; do i=$$((i+1)); echo tick $$i; sleep 0.1; done"; port none; }""")
    cluster.wait_up(1)
    follower = subprocess.Popen(cluster.arguments("logs", "-f", "talker"), stdout=subprocess.PIPE,
                                text=True, stdin=subprocess.DEVNULL, cwd=cluster.directory,
                                env=cluster.environment, **cluster.account.options())
    try:
        seen = []
        while len(seen) < 8:
            line = follower.stdout.readline()
            assert line, "the follower ended"
            seen.append(int(line.rsplit(" ", 1)[1]))
        assert seen == list(range(seen[0], seen[0] + 8))
    finally:
        follower.kill()
        follower.wait()


def test_rotation(cluster, programs):
    folder = cluster.folder("logs")
    cluster.up(f"""
        log directory={folder} size=64k keep=2;
        service talker {{ run {programs.python("chatty")}; env LINES=4000 LINE_BYTES=100; port none; }}""")
    cluster.wait_up(1)

    def printed():
        try:
            return "".join(path.read_text() for path in folder.glob("talker.log*"))
        except FileNotFoundError:
            return ""  # it was renamed since the folder was read
    processes.wait_for(lambda: "done" in printed(), 10, "the last line")
    names = sorted(path.name for path in folder.glob("talker*"))
    assert names == ["talker.log", "talker.log.1", "talker.log.2"]
    for path in folder.glob("talker*"):
        assert path.stat().st_size <= 80 * 1024


def test_control_bytes_do_not_reach_the_terminal(cluster):
    cluster.up(r"""
        service talker { shell "printf 'before\\033[2Jafter\\n'; sleep 100"; port none; }""")
    cluster.wait_up(1)
    cluster.wait_output("before.*after")
    assert b"\x1b[2J" not in cluster.output_path.read_bytes()


@pytest.mark.both_accounts
def test_a_program_that_prints_a_lot_is_not_slowed_for_ever(cluster, programs):
    took = cluster.directory / "took"
    cluster.up(f"""
        service talker {{
            run {programs.python("chatty")} {took};
            env LINES=50000 LINE_BYTES=120; port none;
        }}""")
    processes.wait_for(lambda: took.exists() and took.read_text(), 15, "the program to print all")
    assert cluster.status() is not None
