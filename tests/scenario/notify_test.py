"""Readiness by sd_notify(3), and sockets handed over by LISTEN_FDS."""

import os
import signal

import pytest

from harness import clients

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
