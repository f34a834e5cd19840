"""Who may command a cluster: its owner and root, nobody else."""

import pytest

from harness.cluster import Account


def test_others_may_not(clusters, programs):
    cluster = clusters(Account("root"))
    cluster.up(f"service web {{ run {programs.python('web')}; env WHO=$instance; }}")
    cluster.wait_up(1)
    nobody = Account("nobody").options()
    for command in (["down"], ["scale", "web=2"], ["restart"], ["drain", "web.1"]):
        done = cluster.command(*command, check=False, **nobody)
        assert done.returncode == 1, command
    cluster.wait_up(1)


@pytest.mark.parametrize("account", ["nobody"], indirect=True)
def test_root_may(cluster, programs):
    cluster.up(f"service web {{ run {programs.python('web')}; env WHO=$instance; }}")
    cluster.wait_up(1)
    done = cluster.command("scale", "web=2", user=0, group=0)
    assert done.returncode == 0
    cluster.wait_up(2)
