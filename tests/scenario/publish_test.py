"""`listen` publishes; what it does not name cannot be reached from other machines."""

import pytest

from harness import clients
from harness.network import Network

HERE, THERE = "10.99.0.1", "10.99.0.2"


@pytest.fixture
def other_machine(network):
    other = Network()
    network.connect(other, f"{HERE}/24", f"{THERE}/24")
    yield other
    other.close()


@pytest.mark.both_accounts
def test_only_what_is_published(cluster, programs, other_machine, account):
    cluster.up(f"""
        service front {{ run {programs.python("web")}; env WHO=$instance; instances 3; }}
        service back  {{ run node {programs.path("web.js")}; env WHO=back; }}
        listen 8080 tcp -> front;""")
    cluster.wait_up(3, "front")
    cluster.wait_up(1, "back")
    # On the machine itself all is there, each program on its own port too; but without privileges a
    # socket has one port, and that is the published one.
    assert set(clients.who_answers(8080, 24)) == {"1", "2", "3"}
    if account.root:
        assert set(clients.who_answers(8000, 24)) == {"1", "2", "3"}
    assert clients.who(3000) == "back"
    with other_machine.inside():
        assert set(clients.who_answers(8080, 24, host=HERE)) == {"1", "2", "3"}
        assert clients.refused(8000, HERE)
        assert clients.refused(3000, HERE)


@pytest.mark.both_accounts
def test_the_program_sees_the_client(cluster, programs, other_machine):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; }}
        listen 8080 tcp -> web;""")
    cluster.wait_up(1)
    with other_machine.inside():
        assert clients.ask(8080, HERE, "/peer").split()[0] == THERE


@pytest.mark.both_accounts
def test_publish_as_it_stands(cluster, programs, other_machine):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; publish yes; }}""")
    cluster.wait_up(2)
    with other_machine.inside():
        assert set(clients.who_answers(8000, 20, host=HERE)) == {"1", "2"}


@pytest.mark.both_accounts
def test_listen_on_one_address(cluster, programs, other_machine):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; }}
        listen 127.0.0.1:8080 tcp -> web;""")
    cluster.wait_up(1)
    assert clients.who(8080) == "1"
    with other_machine.inside():
        assert clients.refused(8080, HERE)


def test_ipv6(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance BIND="0.0.0.0 ::only"; instances 2; }}
        listen 8080 tcp -> web;""")
    cluster.wait_up(2)
    assert set(clients.who_answers(8080, 16, host="::1")) == {"1", "2"}
    assert set(clients.who_answers(8080, 16)) == {"1", "2"}


@pytest.mark.both_accounts
def test_udp(cluster, programs, other_machine):
    cluster.up(f"""
        service echo   {{ run {programs.python("echo_udp")}; env WHO=$instance; instances 2; }}
        service hidden {{ run {programs.built("echo_udp")}; env WHO=hidden; }}
        listen 4000 udp -> echo;""")
    cluster.wait_up(2, "echo")
    cluster.wait_up(1, "hidden")
    assert {clients.ask_udp(4000) for _ in range(40)} == {"1", "2"}
    assert clients.ask_udp(4001) == "hidden"
    with other_machine.inside():
        assert {clients.ask_udp(4000, host=HERE) for _ in range(40)} == {"1", "2"}
        with pytest.raises(OSError):
            clients.ask_udp(4001, host=HERE, timeout=0.5)
