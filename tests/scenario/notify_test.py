"""Readiness by sd_notify(3), and sockets handed over by LISTEN_FDS."""

import os
import signal
import subprocess

import pytest

from harness import clients, processes

pytestmark = pytest.mark.both_accounts


def test_up_when_it_says_so(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("notify")}; env WHO=$instance; instances 2; check notify; }}""")
    # It listens for a second before it says that it is ready.
    cluster.wait_state("starting")
    cluster.wait_up(2)
    assert set(clients.who_answers(8087, 20)) == {"1", "2"}


def test_nothing_is_routed_to_one_that_is_not_ready(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("notify")}; env WHO=$instance; instances 2; check notify;
            restart always backoff=10ms..20ms;
        }}""")
    before = cluster.wait_up(2)
    with clients.Load(8087, 2) as load:
        load.wait_more(20)
        os.kill(before[2]["pid"], signal.SIGKILL)
        cluster.wait(lambda: cluster.instances()[2]["state"] == "starting", 5, "it to start")
        answers = clients.who_answers(8087, 20)
        still = cluster.instances()[2]["state"] == "starting"
        cluster.wait_restarted(2, before[2]["pid"])
    assert load.refused == 0
    if still:
        assert set(answers) == {"1"}


MAIN = """
    service web {{
        run {run}; env WHO=$instance DELAY=0; instances {count}; check notify;
        restart always backoff=50ms..100ms;
    }}"""


def main_is(cluster, pid):
    cluster.wait(lambda: cluster.pid(1) == pid, 5, f"{pid} to be the main process")
    instance = cluster.instances()[1]
    assert (instance["state"], instance["restarts"]) == ("up", 0)


def test_a_main_process_that_it_names_is_the_one(cluster, programs):
    """As when a server replaces itself: the new process names itself, and the old one ends."""
    cluster.up(MAIN.format(run=programs.python("notify"), count=1))
    first = cluster.wait_up(1)[1]["pid"]
    second = int(clients.ask(8087, path="/handover").split()[1])
    assert second != first
    main_is(cluster, second)
    processes.wait_for(lambda: not processes.alive(first), 5, "the first one to end")
    main_is(cluster, second)
    third = int(clients.ask(8087, path="/handover").split()[1])
    main_is(cluster, third)

    os.kill(third, signal.SIGKILL)
    assert cluster.wait_restarted(1, third)["exit"] == "killed by SIGKILL"
    assert clients.who(8087) == "1"


def test_when_the_one_that_it_named_ends_it_ends(cluster, programs):
    """Whatever else lives on of it, and though it ended with 0, as what goes into the background does."""
    cluster.up(MAIN.format(run=programs.python("notify"), count=1))
    first = cluster.wait_up(1)[1]["pid"]
    second = int(clients.ask(8087, path="/handover?stay").split()[1])
    main_is(cluster, second)
    assert processes.alive(first)
    with pytest.raises(OSError):
        clients.ask(8087, path="/end")
    assert cluster.wait_restarted(1, second)["exit"] == "exited with status 0"
    assert not processes.alive(first)


def test_what_it_said_before_it_ended_is_heard_first(cluster, programs):
    if not cluster.account.root:
        pytest.skip("without BPF its connect(2) waits for the supervisor, which is stopped here")
    cluster.up(MAIN.format(run=programs.python("notify"), count=1))
    cluster.wait_up(1)
    second = int(clients.ask(8087, path="/handover").split()[1])
    main_is(cluster, second)
    supervisor = cluster.supervisor()
    os.kill(supervisor, signal.SIGSTOP)
    try:
        third = int(clients.ask(8087, path="/handover").split()[1])
        processes.wait_for(lambda: not processes.alive(second), 5, "the second one to end")
    finally:
        os.kill(supervisor, signal.SIGCONT)
    main_is(cluster, third)


def test_only_a_process_of_its_own_is_taken(cluster, programs):
    cluster.up(MAIN.format(run=programs.python("notify"), count=2))
    up = cluster.wait_up(2)
    stranger = subprocess.Popen(["sleep", "30"])
    try:
        for number, other in (1, stranger.pid), (2, up[1]["pid"]):
            clients.ask(8087, host=up[number]["address"], path=f"/main?{other}")
            cluster.wait_output(f"instance-main-refused instance=web.{number} told={other} ")
        assert [cluster.pid(number) for number in (1, 2)] == [up[number]["pid"] for number in (1, 2)]
    finally:
        stranger.kill()
        stranger.wait()


def test_activation(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("activated")}; env WHO=$instance; instances 2;
            port 8300 activation=yes;
        }}""")
    cluster.wait_up(2)
    assert set(clients.who_answers(8300, 20)) == {"1", "2"}


def test_check_exec(cluster, programs):
    flag = cluster.directory / "healthy"
    cluster.up(f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance;
            check exec /usr/bin/test -e {flag} every=200ms timeout=1s rise=1 fall=2;
        }}""")
    cluster.wait_state("starting")
    cluster.file("healthy", "")
    cluster.wait_up(1)
    assert clients.who(8000) == "1"
