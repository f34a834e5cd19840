"""`scale SERVICE=N`, up and down under load: nobody is refused, nothing fails."""

import pytest

from harness import clients


@pytest.mark.both_accounts
def test_up_and_down(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; stop SIGTERM within=2s; }}""")
    cluster.wait_up(2)
    with clients.Load(8000, 4) as load:
        load.wait_more(20)
        cluster.command("scale", "web=5")
        cluster.wait_up(5)
        assert cluster.service()["wanted"] == 5
        load.wait_more(150)
        assert set(load.answers) == {"1", "2", "3", "4", "5"}
        cluster.command("scale", "web=1")
        cluster.wait_up(1)
        load.wait_more(50)
    assert load.refused == 0
    assert not load.failed
    assert set(clients.who_answers(8000, 10)) == {"1"}


def test_out_of_bounds(cluster, programs):
    cluster.up(f"service web {{ run {programs.python('web')}; env WHO=$instance; }}")
    cluster.wait_up(1)
    for wanted in ("web=1025", "wed=2", "web=-1", "web="):
        done = cluster.command("scale", wanted, check=False)
        assert done.returncode in (1, 2) and done.stderr, wanted
    cluster.wait_up(1)


def test_a_hundred(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.built("prefork")}; env WHO=$instance; instances 100; balance round-robin; }}""")
    cluster.wait_up(100, within=15)
    assert len(clients.who_answers(8085, 200)) == 100
