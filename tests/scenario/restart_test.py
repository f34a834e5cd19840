"""`restart`: the programs are new ones afterwards; with several instances nobody notices."""

import pytest

from harness import clients


def pids(cluster, name=None):
    return {number: instance["pid"] for number, instance in cluster.instances(name).items()}


@pytest.mark.both_accounts
def test_one_instance(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 3; }}""")
    cluster.wait_up(3)
    before = pids(cluster)
    with clients.Load(8000, 4) as load:
        load.wait_more(20)
        cluster.command("restart", "web.2")
        cluster.wait_restarted(2, before[2])
        load.wait_more(20)
    after = pids(cluster)
    assert (after[1], after[3]) == (before[1], before[3])
    assert load.refused == 0 and not load.failed


def test_a_service(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 3; }}
        service other {{ run node {programs.path("web.js")}; }}""")
    cluster.wait_up(3, "web")
    cluster.wait_up(1, "other")
    web, other = pids(cluster, "web"), pids(cluster, "other")
    with clients.Load(8000, 4) as load:
        load.wait_more(20)
        cluster.command("restart", "web")
        for number, pid in web.items():
            cluster.wait_restarted(number, pid, "web")
        cluster.wait_up(3, "web")
        load.wait_more(20)
    assert load.refused == 0
    assert pids(cluster, "other") == other
