"""`drain SERVICE.N`: no new connections, those that are open stay; `--undo` brings it back."""

import pytest

from harness import clients


@pytest.mark.both_accounts
def test_drain_and_back(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 3; }}""")
    cluster.wait_up(3)
    with clients.Held(8000, 30) as held:
        before = held.spread()
        assert len(before) == 3
        cluster.command("drain", "web.2")
        cluster.wait_state("draining", number=2)
        assert set(clients.who_answers(8000, 40)) == {"1", "3"}
        assert held.spread() == before
        cluster.command("drain", "web.2", "--undo")
        cluster.wait_up(3)
        assert set(clients.who_answers(8000, 60)) == {"1", "2", "3"}
        assert held.spread() == before


def test_nobody_is_refused_meanwhile(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}""")
    cluster.wait_up(2)
    with clients.Load(8000, 4) as load:
        for number in ("1", "2") * 3:
            cluster.command("drain", f"web.{number}")
            load.wait_more(20)
            cluster.command("drain", f"web.{number}", "--undo")
            load.wait_more(20)
    assert load.refused == 0 and not load.failed


def test_unknown_names(cluster, programs):
    cluster.up(f"service web {{ run {programs.python('web')}; env WHO=$instance; }}")
    cluster.wait_up(1)
    for name in ("wed.1", "web.9", "web.x", ".1"):
        done = cluster.command("drain", name, check=False)
        assert done.returncode in (1, 2) and done.stderr, name
