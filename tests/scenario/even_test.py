"""1,000 connections over four instances: each holds 250, one more or less."""

import pytest

from harness import clients

CONNECTIONS = 1000


@pytest.mark.parametrize("policy", ["least", "round-robin"])
def test_within_one_of_even(cluster, programs, policy):
    cluster.up(f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance;
            instances 4; balance {policy};
        }}""")
    cluster.wait_up(4)
    with clients.Held(8000, CONNECTIONS) as held:
        spread = held.spread()
    assert sum(spread.values()) == CONNECTIONS
    assert len(spread) == 4
    assert all(abs(count - CONNECTIONS // 4) <= 1 for count in spread.values()), spread


def test_least_fills_the_gaps(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 4; balance least; }}""")
    cluster.wait_up(4)
    with clients.Held(8000, 40) as held:
        held.spread()
        victims = [one for one in held.connections if held.ask(one) == "2"]
        assert len(victims) in (9, 10, 11)
        for connection in victims[:8]:
            held.connections.remove(connection)
            connection.close()
        cluster.wait(lambda: cluster.instances()[2]["connections"] == len(victims) - 8, 5,
                     "the counters to see the closed connections")
        with clients.Held(8000, 8) as more:
            assert more.spread() == {"2": 8}


@pytest.mark.parametrize("account", ["nobody"], indirect=True)
def test_without_privileges_all_share(cluster, programs):
    # Classic BPF chooses at random: even in the mean only. 250 is 13.7 standard deviations away
    # from 0 and 6 of them are 82.
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 4; }}""")
    cluster.wait_up(4)
    with clients.Held(8000, CONNECTIONS) as held:
        spread = held.spread()
    assert len(spread) == 4
    assert all(abs(count - CONNECTIONS // 4) <= 82 for count in spread.values()), spread
