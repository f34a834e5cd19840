"""Addresses: each service's home, each instance's own, the same after a restart."""

import pytest

from harness import clients

pytestmark = pytest.mark.both_accounts


def test_homes_and_own_addresses(cluster, programs, account):
    text = f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 3; }}
        service other {{ run node {programs.path("web.js")}; env WHO=other; }}"""
    cluster.up(text)
    cluster.wait_up(3, "web")
    cluster.wait_up(1, "other")
    home = cluster.service("web")["home"]
    assert set(clients.who_answers(8000, 24, host=home)) == {"1", "2", "3"}
    for number, instance in cluster.instances("web").items():
        assert set(clients.who_answers(8000, 4, host=instance["address"])) == {str(number)}
    if account.root:  # else a listener on any address is there at every loopback address
        assert clients.refused(3000, home)

    cluster.down()
    cluster.up(text)
    cluster.wait_up(3, "web")
    assert cluster.service("web")["home"] == home
    assert clients.who(8000, host=home)


def test_a_restarted_instance_keeps_its_own(cluster, programs):
    cluster.up(f"service web {{ run {programs.python('web')}; env WHO=$instance; instances 2; }}")
    before = cluster.wait_up(2)
    cluster.command("restart", "web.1")
    after = cluster.wait_restarted(1, before[1]["pid"])
    assert after["address"] == before[1]["address"]
    assert clients.who(8000, host=after["address"]) == "1"
