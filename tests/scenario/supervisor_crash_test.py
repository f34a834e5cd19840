"""kill -9 of enginx's own processes: programs and traffic go on, `enginx up` adopts them, and nothing
leaks."""

import os
import signal
import time

import pytest

from harness import cgroups, clients, processes

CONFIGURATION = """
    service web {{ run {run}; env WHO=$instance; instances 3; restart always backoff=10ms..50ms; }}"""


def kill(cluster, pid):
    os.kill(pid, signal.SIGKILL)
    if cluster.process is not None and cluster.process.pid == pid:
        cluster.process.wait()
        cluster.process = None
    processes.wait_for(lambda: not processes.alive(pid), 5, "the process to die")


def pids(cluster):
    return {number: instance["pid"] for number, instance in cluster.instances().items()}


@pytest.mark.both_accounts
def test_programs_and_traffic_go_on(cluster, programs):
    text = CONFIGURATION.format(run=programs.python("web"))
    cluster.up(text)
    cluster.wait_up(3)
    before = pids(cluster)
    with clients.Held(8000, 9) as held, clients.Load(8000, 4) as load:
        load.wait_more(50)
        kill(cluster, cluster.supervisor())
        assert cluster.status() is None
        load.wait_more(100)
        assert sum(held.spread().values()) == 9

        cluster.up()
        cluster.wait_up(3)
        assert pids(cluster) == before
        load.wait_more(100)
        assert sum(held.spread().values()) == 9
    assert load.refused == 0 and not load.failed
    assert set(load.answers) == {"1", "2", "3"}

    # Adopted instances are looked after like any others.
    os.kill(before[2], signal.SIGKILL)
    cluster.wait_restarted(2, before[2])
    assert "2" in clients.who_answers(8000, 30)


@pytest.mark.both_accounts
def test_an_instance_that_died_meanwhile_is_restarted(cluster, programs):
    cluster.up(CONFIGURATION.format(run=programs.python("web")))
    cluster.wait_up(3)
    before = pids(cluster)
    kill(cluster, cluster.supervisor())
    os.kill(before[1], signal.SIGKILL)
    cluster.up()
    cluster.wait_restarted(1, before[1])
    after = pids(cluster)
    assert (after[2], after[3]) == (before[2], before[3])


def belongings(cluster):
    """What enginx has: processes, descriptors, control groups, files."""
    return (len(cluster.enginx_processes()),
            sum(len(processes.descriptors(pid)) for pid in cluster.enginx_processes()),
            len(cgroups.all_below(cluster.cgroup)),
            len(list(cluster.state.rglob("*"))))


@pytest.mark.both_accounts
def test_each_process_of_enginx_in_turn(cluster, programs):
    cluster.up(CONFIGURATION.format(run=programs.python("web")))
    cluster.wait_up(3)
    before = pids(cluster)
    counted, helpers = None, len(cluster.enginx_processes())
    with clients.Load(8000, 4) as load:
        for turn in range(3):
            for pid in cluster.enginx_processes():
                if not processes.alive(pid):
                    continue  # it has ended because of the one before
                kill(cluster, pid)
                load.wait_more(20)
                if cluster.status() is None:
                    cluster.up()
                cluster.wait_up(3)
                cluster.wait(lambda: len(cluster.enginx_processes()) == helpers, 5,
                             "all of enginx's processes again")
            cluster.wait(lambda: all(cluster.status()[name] for name in ("keeper_pid", "pid")), 5,
                         "the supervisor to have them")
            if turn == 0:
                counted = belongings(cluster)  # the first turn may leave a trace that has a bound
        # A descriptor may be on its way from one process to another, so not at the first look.
        cluster.wait(lambda: all(now <= then for now, then in zip(belongings(cluster), counted)), 5,
                     f"no more than {counted}")
    assert pids(cluster) == before
    assert load.refused == 0 and not load.failed


@pytest.mark.both_accounts
@pytest.mark.parametrize("helper", ["keeper", "logger"])
def test_down_right_after_a_helper_died(cluster, programs, helper):
    cluster.up(CONFIGURATION.format(run=programs.python("web")))
    cluster.wait_up(3)
    pid = next(pid for pid in cluster.enginx_processes() if helper in processes.command_line(pid))
    os.kill(pid, signal.SIGKILL)
    cluster.down()  # what is left, the fixture sees


def test_output_written_meanwhile_is_not_lost(cluster, programs):
    cluster.up(f"""
        service talker {{ run /bin/sh -c "i=0; while :; do i=$$((i+1)); echo tick $$i; sleep 0.05; done";
                         port none; }}""")
    cluster.wait_up(1)
    cluster.wait_output("tick 5")
    kill(cluster, cluster.supervisor())
    pid = next(pid for pid in cluster.network.processes() if "tick" in processes.command_line(pid))
    assert processes.alive(pid)
    time.sleep(0.5)  # the point of this scenario is that time goes by without a supervisor
    cluster.up()
    cluster.wait_up(1)
    cluster.wait_output(r"tick 3\d")
    lines = cluster.command("logs", "-n", "200", "talker").stdout
    seen = [int(line.rsplit(" ", 1)[1]) for line in lines.splitlines() if " tick " in line]
    assert seen == list(range(seen[0], seen[0] + len(seen))) and seen[0] == 1


@pytest.mark.both_accounts
@pytest.mark.parametrize("port", ["", "port 8000;"], ids=["learnt", "stated"])
def test_the_gateway_finds_what_is_published_elsewhere(cluster, programs, port):
    """Its checks and its requests, although without privileges the sockets are at 8080 alone; and
    a supervisor that takes over finds it, too, and says where the programs believe to be."""
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; {port}
                       check http / every=100ms; }}
        listen 8080 tcp -> web;
        listen 8081 http -> web;""")
    cluster.wait_up(2)
    both = {"1", "2"}
    assert set(clients.who_answers(8080, 24)) == both
    assert set(clients.who_answers(8081, 24)) == both
    kill(cluster, cluster.supervisor())
    cluster.up()
    cluster.wait_up(2)
    assert cluster.service("web")["ports"] == ["tcp:8000"]
    assert set(clients.who_answers(8080, 24)) == both
    assert set(clients.who_answers(8081, 24)) == both


@pytest.mark.both_accounts
def test_listeners_of_which_nothing_was_kept(cluster, programs):
    """Keeper and supervisor die together: what the programs listen on is found with them, and given on when they are
    rolled, also by yet another supervisor."""
    run = f"run node {programs.path('rolled.js')}; env WHO=$instance NODE_PATH=/usr/share/nodejs"
    stop = "stop SIGTERM drain=100ms within=20s;"
    cluster.up(f"""
        service one {{ {run} PORT=3100; port 3100; {stop} }}
        service web {{ {run} PORT=3000; port 3000; instances 3; {stop} }}""")
    cluster.wait_up(1, "one")
    cluster.wait_up(3, "web")
    status = cluster.status()
    os.kill(status["pid"], signal.SIGSTOP)  # it shall not start another keeper
    os.kill(status["keeper_pid"], signal.SIGKILL)
    kill(cluster, status["pid"])
    cluster.up()
    cluster.wait_up(1, "one")
    kill(cluster, cluster.supervisor())
    cluster.up()
    cluster.wait_up(1, "one")
    with clients.Load(3100, 2) as one, clients.Load(3000, 4) as web:
        for service, load in (("one", one), ("web", web)):
            cluster.command("roll", service, timeout=60)
            load.wait_more(20)
    assert (one.refused, one.failed, web.refused, web.failed) == (0, [], 0, [])
    assert one.slowest < 10 and web.slowest < 10


@pytest.mark.both_accounts
def test_a_start_that_the_supervisor_did_not_live_to_see(cluster, programs):
    """An instance is killed, and the supervisor when it has started it anew: what waits for it is served by it."""
    cluster.up(f"""
        service web {{ run sh -c "sleep 0.7; exec node {programs.path('rolled.js')}";
                       env WHO=$instance PORT=3000 NODE_PATH=/usr/share/nodejs;
                       instances 3; restart always backoff=10ms..50ms; }}""")
    cluster.wait_up(3, "web")
    before, supervisor = pids(cluster), cluster.supervisor()
    with clients.Load(3000, 4) as load:
        load.wait_more(20)
        os.kill(before[1], signal.SIGKILL)
        killed = time.monotonic()
        cluster.wait(lambda: pids(cluster)[1] not in (0, None, before[1]), 10, "another start")
        kill(cluster, supervisor)
        cluster.up()
        cluster.wait_up(3, "web")
        load.wait_more(20)
    assert load.refused == 0
    assert [when for when, _ in load.failed if when > killed + 0.2] == []
