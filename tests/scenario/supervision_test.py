"""The supervisor's own reasoning: what happens when orders, deaths and crashes meet."""

import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness import clients, processes

WEB = """
    service web {{ run {run}; env WHO=$instance; instances {count}; {more} }}"""


def pids(cluster, name=None):
    return {number: instance["pid"] for number, instance in cluster.instances(name).items()}


@pytest.mark.both_accounts
def test_why_a_start_failed_is_told_however_quick_it_was(cluster):
    broken = cluster.file("broken", "#!/nonexistent/interpreter\n", 0o755)
    cluster.up(f"""
        service broken {{ run {broken}; port none; restart always backoff=10ms..20ms tries=20; }}""")
    cluster.wait_output("cannot run the program|run the program: No such file")
    assert "No such file" in cluster.wait_state("failed")["reason"]


@pytest.mark.both_accounts
def test_a_rolling_restart_survives_that_its_instance_is_scaled_away(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        service slow {{ run /bin/sleep 1000; port none; instances 2; stop SIGCONT within=1s; }}""")
    cluster.wait_up(2, "slow")
    before = pids(cluster, "slow")
    waiting = threading.Thread(target=cluster.command, args=("restart", "slow"),
                               kwargs={"check": False})
    waiting.start()
    cluster.wait(lambda: pids(cluster, "slow")[1] not in (before[1], None), 5, "the first")
    cluster.wait(lambda: cluster.instances("slow")[2]["state"] != "up", 5, "the second's turn")
    cluster.command("scale", "slow=1")
    waiting.join(10)
    assert not waiting.is_alive()
    cluster.wait_up(1, "slow")
    first = pids(cluster, "slow")[1]
    cluster.command("restart", "slow")  # another one is not refused
    assert pids(cluster, "slow")[1] != first


def test_a_rolling_restart_stops_at_one_that_fails(cluster, programs):
    program = cluster.file("program", f"#!/bin/sh\nexec {programs.python('web')}\n", 0o755)
    cluster.up(f"""
        service worker {{
            run {program}; instances 3; restart always backoff=10ms..20ms tries=3;
        }}""")
    cluster.wait_up(3)
    before = pids(cluster)
    program.write_text("#!/bin/sh\nexit 3\n")
    done = cluster.command("restart", "worker", check=False)
    assert done.returncode == 1 and "status 3" in done.stderr
    cluster.wait_state("failed", number=1)
    after = cluster.instances()
    assert [after[2]["pid"], after[3]["pid"]] == [before[2], before[3]]
    assert after[2]["state"] == after[3]["state"] == "up"


def test_what_waits_is_not_started_by_restart(cluster, programs):
    cluster.up(f"""
        service base {{ run {programs.python("silent")}; port 9; start within=1m; }}
        service user {{ run /bin/sleep 1000; port none; uses base; }}""")
    cluster.wait(lambda: cluster.instances("base")[1]["state"] == "starting", 5, "the base")
    process = cluster.arguments("restart", "user")
    waiting = subprocess.Popen(process, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.3)  # the point is that nothing happens
    user = cluster.instances("user")[1]
    waiting.kill()
    waiting.wait()
    assert user["state"] == "idle" and "base" in user["reason"]


@pytest.mark.both_accounts
def test_fewer_instances_in_the_file_after_a_crash(cluster, programs):
    run = programs.python("web")
    cluster.up(WEB.format(run=run, count=4, more=""))
    cluster.wait_up(4)
    before = pids(cluster)
    cluster.kill_supervisor()
    cluster.up(WEB.format(run=run, count=2, more=""))
    cluster.wait_up(2)
    assert pids(cluster) == {1: before[1], 2: before[2]}
    processes.wait_for(lambda: not any(processes.alive(before[n]) for n in (3, 4)), 5, "the others")


@pytest.mark.both_accounts
def test_a_service_that_is_not_in_the_file_after_a_crash(cluster, programs):
    kept = f"service web {{ run {programs.python('web')}; }}"
    cluster.up(kept + "service gone { run /bin/sleep 1234; port none; }")
    cluster.wait_up(1, "gone")
    pid = cluster.pid(1, "gone")
    web = cluster.wait_up(1, "web")[1]["pid"]
    cluster.kill_supervisor()
    cluster.up(kept)
    assert cluster.wait_up(1, "web")[1]["pid"] == web
    processes.wait_for(lambda: not processes.alive(pid), 5, "what is not stated any more to end")


def test_a_stop_that_a_crash_interrupted(cluster, programs):
    # It ignores the signal; the supervisor dies while it waits for the end of it.
    cluster.up(f"""
        service stubborn {{
            run /bin/sh -c "trap '' TERM; while :; do sleep 0.1; done"; port none;
            instances 2; stop SIGTERM within=2s;
        }}""")
    cluster.wait_up(2)
    before = pids(cluster)
    subprocess.Popen(cluster.arguments("restart", "stubborn.1"), stderr=subprocess.DEVNULL)
    cluster.wait_state("stopping", number=1)
    cluster.kill_supervisor()
    cluster.up()
    cluster.wait_restarted(1, before[1])
    assert pids(cluster)[2] == before[2]


def test_checks_go_on_after_a_crash(cluster, programs):
    flag = cluster.file("healthy", "")
    cluster.up(WEB.format(run=programs.python("web"), count=2, more=f"""
        check exec /usr/bin/test -e {flag} every=100ms timeout=1s rise=1 fall=2;"""))
    cluster.wait_up(2)
    cluster.kill_supervisor()
    cluster.up()
    cluster.wait_up(2)
    assert all(instance["healthy"] for instance in cluster.instances().values())
    flag.unlink()
    cluster.wait(lambda: not any(i["healthy"] for i in cluster.instances().values()), 5,
                 "the check to fail")


@pytest.mark.both_accounts
def test_readiness_goes_on_after_a_crash(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("notify")}; env WHO=$instance; check notify; }}""")
    # It says READY=1 a second after it listens.
    cluster.wait(lambda: cluster.instances()[1]["ports"], 5, "it to listen")
    assert cluster.instances()[1]["state"] == "starting"
    pid = cluster.pid(1)
    cluster.kill_supervisor()
    cluster.up()
    assert cluster.wait_up(1)[1]["pid"] == pid


@pytest.mark.both_accounts
def test_how_an_adopted_instance_ended(cluster, programs):
    cluster.up(WEB.format(run=programs.python("web"), count=2,
                          more="restart always backoff=10ms..20ms;"))
    cluster.wait_up(2)
    before = pids(cluster)
    cluster.kill_supervisor()
    cluster.up()
    cluster.wait_up(2)
    os.kill(before[1], signal.SIGKILL)
    assert cluster.wait_restarted(1, before[1])["exit"] == "killed by SIGKILL"


def test_one_logger_after_a_crash(cluster, programs):
    cluster.up(WEB.format(run=programs.python("web"), count=1, more=""))
    cluster.wait_up(1)
    logger = cluster.status()["logger_pid"]
    for _ in range(2):
        cluster.kill_supervisor()
        cluster.up()
        cluster.wait_up(1)
        loggers = [pid for pid in cluster.enginx_processes()
                   if "logger" in processes.command_line(pid)]
        assert loggers == [logger] and cluster.status()["logger_pid"] == logger


def test_the_command_of_a_check_is_no_main_process(cluster):
    cluster.up("""
        service worker {
            run /bin/sleep 1; port none; restart never;
            check exec /bin/sleep 30 every=100ms timeout=40s;
        }
        service other { run /bin/sleep 1000; port none; }""")
    # It ends with 0 while the command looks at it; the command must end with it.
    cluster.wait_state("idle", "worker", within=5)
    assert not [pid for pid in cluster.network.processes()
                if processes.command_line(pid) == "/bin/sleep 30" and processes.alive(pid)]


def test_the_children_of_a_late_check_end(cluster):
    cluster.up("""
        service worker {
            run /bin/sleep 1000; port none;
            check exec /bin/sh -c "sleep 77; true" every=100ms timeout=200ms rise=1 fall=1;
        }""")
    cluster.wait(lambda: "took longer" in (cluster.instances()[1]["reason"] or ""), 5, "a late one")
    time.sleep(1)  # some more rounds
    sleeping = [pid for pid in cluster.network.processes()
                if processes.command_line(pid) == "sleep 77" and processes.alive(pid)]
    assert len(sleeping) <= 1


def test_a_program_keeps_its_own_options(cluster):
    cluster.run("sh", "-c", "echo it is $0; exec sleep 1000", "-c")
    cluster.wait_output("it is -c")


def test_a_reason_that_is_not_utf8(cluster):
    cluster.up("service bad { run /bin/sh -c \"exec /nonexistent/$$(printf '\\\\377')\"; port none; "
               "restart always backoff=10ms..20ms tries=2; }")
    cluster.wait_state("failed")
    assert cluster.status() is not None


def test_a_state_directory_that_is_too_long_for_a_socket(cluster, programs):
    cluster.configure(WEB.format(run=programs.python("web"), count=1, more=""))
    long = cluster.directory / ("x" * 100)
    done = cluster.command("--state", long, "up", cluster.directory / "enginx.conf", check=False)
    assert done.returncode == 1 and "too long" in done.stderr
    assert not long.exists() and not cluster.left_over()


def test_two_that_say_down(cluster, programs):
    cluster.up("""
        service slow { run /bin/sh -c "trap 'sleep 1; echo in order; exit 0' TERM; while :; do sleep 0.05; done";
                       port none; stop SIGTERM within=5s; }""")
    cluster.wait_up(1)
    first = subprocess.Popen(cluster.arguments("down"), stderr=subprocess.DEVNULL)
    cluster.wait(lambda: cluster.instances()[1]["state"] == "stopping", 5, "it to stop")
    cluster.command("down")
    assert first.wait(10) == 0
    assert cluster.wait_exit() == 0
    assert "in order" in cluster.output and "killing" not in cluster.output


def test_nobody_reads_a_long_answer(cluster, programs):
    cluster.up(WEB.format(run=programs.python("web"), count=1, more=""))
    cluster.wait_up(1)
    idle = []
    for _ in range(20):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(cluster.state / "control"))
        peer.send(b'{"command":"status"}\n')
        idle.append(peer)
    assert cluster.status() is not None
    assert clients.who(8000) == "1"
    for peer in idle:
        peer.close()
