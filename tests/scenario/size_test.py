"""Size: a service of a few hundred instances, a file of thousands of services."""

import os
import re

import pytest

from harness import clients
from harness.processes import wait_for

MANY = 300
SERVICES = 3000


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.both_accounts
def test_hundreds_of_instances(cluster, account, programs):
    """They start, all serve, go down to one and up again, and end."""
    cluster.up(f"""
        service web {{
            run {programs.built("prefork")}; env WHO=$instance; instances {MANY};
            balance round-robin; restart never; stop SIGKILL within=2s;
        }}""")
    wait_for(lambda: " ready " in cluster.output, 15, "all instances")
    cluster.wait_up(MANY)
    seen = clients.who_answers(8085, 2 * MANY)
    if account.root:
        assert set(seen.values()) == {2}
    else:
        assert len(seen) > MANY / 2  # at random: 1 - 1/e² of them on the average
    cluster.command("scale", "web=1")
    cluster.wait_up(1)
    assert set(clients.who_answers(8085, 20)) == {"1"}
    cluster.command("scale", f"web={MANY}")
    cluster.wait_up(MANY)
    assert len(clients.who_answers(8085, 2 * MANY)) > MANY / 2


def test_a_program_that_is_not_there_holds_no_descriptors(cluster):
    """Thousands that failed must not use up what the others need, nor hinder them."""
    text = "".join(f"service s{i} {{ run /nonexistent; port none; restart never; }}\n"
                   for i in range(SERVICES))
    cluster.up(text + "service last { run sleep 1000; port none; uses s0; }\n"
                      "service well { run sleep 1000; port none; }\n")
    wait_for(lambda: re.search(r"instance-up instance=well\.1", cluster.output), 15, "the last one")
    status = wait_for(cluster.status, 5, "an answer")
    states = {service["name"]: service["instances"][0]["state"] for service in status["services"]}
    assert states["well"] == "up"
    assert states["last"] == "idle"  # what it uses never came up
    assert descriptors(status["pid"]) < 2 * SERVICES
    cluster.command("restart", "well.1")
    assert cluster.service("well")["instances"][0]["restarts"] == 1
