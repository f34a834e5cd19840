"""Every process of an instance is found and ended, however it was made."""

import os
import signal
import subprocess

import pytest

from harness import clients, processes


def preforked(cluster, count):
    """The processes of prefork, when there are so many."""
    found = [pid for pid in cluster.network.processes()
             if "prefork" in processes.command_line(pid)]
    return found if len(found) == count else None


@pytest.mark.both_accounts
def test_one_that_forks(cluster, programs):
    cluster.up(f"service web {{ run {programs.built('prefork')}; env WHO=$instance; instances 2; }}")
    cluster.wait_up(2)
    everyone = cluster.wait(lambda: preforked(cluster, 10), 5, "all workers")
    cluster.down()
    assert not [pid for pid in everyone if processes.alive(pid)]


@pytest.mark.both_accounts
def test_one_that_goes_to_the_background(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.built("prefork")} daemon; env WHO=$instance; instances 2; }}""")
    cluster.wait_up(2)
    assert set(clients.who_answers(8085, 20)) == {"1", "2"}
    everyone = cluster.wait(lambda: preforked(cluster, 10), 5, "all workers")
    cluster.down()
    assert not [pid for pid in everyone if processes.alive(pid)]


@pytest.mark.both_accounts
def test_the_death_of_a_daemon_is_noticed(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.built("prefork")} daemon; env WHO=$instance;
            restart always backoff=50ms..100ms;
        }}""")
    cluster.wait_up(1)
    before = cluster.wait(lambda: preforked(cluster, 5), 5, "all workers")
    for pid in before:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # enginx ends the rest itself when it sees the first deaths

    def replaced():
        try:
            return int(clients.ask(8085).split()[1]) not in before
        except ConnectionResetError:
            return False  # in flight on one that died
    cluster.wait(replaced, 8, "new processes")
    assert cluster.wait_up(1)[1]["restarts"] == 1


@pytest.mark.both_accounts
def test_what_a_dead_main_process_leaves_is_ended(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.built("prefork")}; env WHO=$instance;
            restart always backoff=50ms..100ms;
        }}""")
    main = cluster.wait_up(1)[1]["pid"]
    workers = [pid for pid in cluster.wait(lambda: preforked(cluster, 5), 5, "all workers")
               if pid != main]
    os.kill(main, signal.SIGKILL)
    cluster.wait_restarted(1, main)
    assert not [pid for pid in workers if processes.alive(pid)]


def test_as_process_1_of_a_container(cluster, programs):
    """In a pid namespace of its own, where orphans become enginx's to bury."""
    path = cluster.configure(f"""
        service web {{ run {programs.built("prefork")} daemon; env WHO=$instance; instances 2; }}""")
    with open(cluster.output_path, "ab") as output:
        cluster.process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL",
             *cluster.arguments("up", path)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cluster.directory,
            env=cluster.environment, start_new_session=True)
    cluster.wait_up(2)
    assert set(clients.who_answers(8085, 20)) == {"1", "2"}
    zombies = [pid for pid in cluster.network.processes()
               if b") Z" in processes.read(pid, "stat")]
    assert not zombies
    cluster.down()
