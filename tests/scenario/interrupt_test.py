"""Ctrl-C stops everything in order; a second one at once."""

import signal
import time

import pytest

from harness import clients


@pytest.mark.both_accounts
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_order(cluster, programs, number):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}""")
    cluster.wait_up(2)
    cluster.process.send_signal(number)
    assert cluster.wait_exit() == 0
    assert clients.refused(8000)
    assert not cluster.left_over()


@pytest.mark.both_accounts
def test_a_second_one_at_once(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("stubborn")}; stop SIGTERM within=60s; }}""")
    cluster.wait_up(1)
    cluster.process.send_signal(signal.SIGINT)
    cluster.wait_state("stopping")
    started = time.monotonic()
    cluster.process.send_signal(signal.SIGINT)
    cluster.wait_exit()
    assert time.monotonic() - started < 3
    assert clients.refused(8086)


@pytest.mark.both_accounts
def test_one_that_ignores_the_signal_is_killed_in_time(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("stubborn")}; stop SIGTERM within=1s; }}""")
    cluster.wait_up(1)
    started = time.monotonic()
    cluster.down()
    assert 0.9 < time.monotonic() - started < 4


@pytest.mark.both_accounts
def test_an_early_one_leaves_nothing(clusters, programs):
    text = f"service web {{ run {programs.python('web')}; instances 2; }}"
    for delay_ms in range(0, 64, 4):  # through all of enginx's own start
        cluster = clusters()
        cluster.up(text)
        time.sleep(delay_ms / 1000)
        cluster.process.send_signal(signal.SIGTERM)
        assert cluster.wait_exit() in (0, -signal.SIGTERM)  # killed only before anything was begun
        assert not cluster.left_over()
