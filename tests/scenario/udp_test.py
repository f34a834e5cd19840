"""UDP: shared by all instances, sticky by client, answered from the right port."""

import os
import signal
import socket

import pytest

from harness import clients

pytestmark = pytest.mark.both_accounts


@pytest.mark.parametrize("program", ["python", "c"])
def test_sticky_and_shared(cluster, programs, program):
    command, port = ((programs.python("echo_udp"), 4000) if program == "python"
                     else (programs.built("echo_udp"), 4001))
    cluster.up(f"service echo {{ run {command}; env WHO=$instance; instances 3; }}")
    cluster.wait_up(3)
    met = set()
    for _ in range(40):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            answers = {clients.ask_udp(port, client=client) for _ in range(5)}
            assert len(answers) == 1
            met |= answers
    assert met == {"1", "2", "3"}


def test_a_death_moves_only_its_own_clients(cluster, programs):
    cluster.up(f"""
        service echo {{
            run {programs.python("echo_udp")}; env WHO=$instance; instances 3;
            restart never;
        }}""")
    before = cluster.wait_up(3)
    os.kill(before[2]["pid"], signal.SIGKILL)
    cluster.wait_state("failed", number=2)
    assert {clients.ask_udp(4000) for _ in range(40)} == {"1", "3"}
