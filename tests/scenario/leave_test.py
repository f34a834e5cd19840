"""enginx ends alone (`leave`) and starts again, as a service manager's restart does it: nobody notices, and
what the file says anew is taken into use."""

import pytest

from harness import clients, processes
from harness.clients import Load, ask_udp
from harness.websocket import WebSocket
from udp_relay_test import udp
from upgrade_test import DIRECT, HTTP, RELAY, UDP, KeptAlive, draining, text, up

both_accounts = pytest.mark.both_accounts


def restart(cluster, *arguments):
    cluster.command("leave")
    assert cluster.wait_exit() == 0
    cluster.up(*arguments)
    cluster.wait_up(2, "web")


def pids(cluster):
    return {(name, number): instance["pid"]
            for name in ("chat", "echo", "web") for number, instance in cluster.instances(name).items()}


@both_accounts
def test_nobody_notices(cluster, programs):
    up(cluster, programs)
    before, programs_before = cluster.status(), pids(cluster)
    session = udp()
    place = ask_udp(UDP, client=session)
    with WebSocket(HTTP, path="/chat") as chat, Load(HTTP, 2) as load, Load(RELAY, 1) as relayed, \
            Load(DIRECT, 1) as direct, KeptAlive(HTTP) as kept, clients.Held(RELAY, 3) as tunnels:
        home = chat.ask("who")
        load.wait_more(30)
        restart(cluster)
        for one in (load, relayed, direct):
            one.wait_more(20)
        assert chat.ask("who") == home and sum(tunnels.spread().values()) == 3
        assert ask_udp(UDP, client=session) == place
        # The gateway is a new one, too, as after an upgrade: of libraries, for one.
        assert draining(cluster) == [before["gateway_pid"]]
    session.close()
    for name, one in (("http", load), ("relay", relayed), ("direct", direct)):
        assert one.refused == 0 and not one.failed, (name, one.refused, one.failed[:3])
    assert kept.done > 20 and not kept.failed, kept.failed[:3]
    after = cluster.status()
    assert after["pid"] != before["pid"] and pids(cluster) == programs_before
    cluster.wait(lambda: draining(cluster) == [] and not processes.alive(before["gateway_pid"]), 10,
                 "the old gateway to end")


def test_a_changed_file_is_taken_into_use(cluster, programs):
    up(cluster, programs)
    before = pids(cluster)
    changed = text(programs).replace("env WHO=$instance; instances 2; }\n        listen",
                                     "env WHO=$instance; env NEW=1; instances 2; }\n        listen")
    assert changed != text(programs)
    with Load(HTTP, 2) as load, Load(DIRECT, 1) as direct:
        load.wait_more(20)
        restart(cluster, changed)
        old = {pid for (name, _), pid in before.items() if name == "web"}
        cluster.wait(lambda: not old & set(pids(cluster).values()), 20, "the changed service to be rolled")
        load.wait_more(20)
    assert load.refused == 0 and not load.failed, load.failed[:3]
    assert direct.refused == 0 and not direct.failed, direct.failed[:3]
    after = pids(cluster)
    assert all(after[key] == before[key] for key in before if key[0] != "web")


def test_down_after_it_leaves_nothing(cluster, programs):
    up(cluster, programs)
    restart(cluster)
    cluster.down()  # the fixture sees what is left
