"""The last good configuration is kept; a start with a broken file says so, and can use it."""

import pytest

from harness import clients
from roll_test import service

GOOD = 'service web {{ run {web}; env WHO={who}; }} listen 8080 tcp -> web;'


def text(programs, who, more=""):
    return GOOD.format(web=programs.python("web"), who=who) + more


@pytest.mark.both_accounts
def test_a_start_with_a_broken_file(cluster, programs):
    kept = cluster.state / "last-good"
    cluster.up(text(programs, "one"))
    cluster.wait_up(1)
    cluster.wait(kept.exists, 10, "it to be kept")
    assert kept.stat().st_mode & 0o777 == 0o600
    cluster.down()
    cluster.configure(text(programs, "two", "servise x { }"))
    cluster.up()
    assert cluster.wait_exit() == 2
    assert "servise" in cluster.output and "--last-good starts it" in cluster.output
    cluster.up(None, "--last-good")
    cluster.wait_up(1)
    assert clients.who(8080) == "one" and "is wrong; the last good one" in cluster.output
    # It can be reloaded from its file, once that is right, and that is kept then.
    cluster.configure(text(programs, "three"))
    before = kept.read_bytes()
    cluster.command("reload", "--wait", timeout=30)
    assert clients.who(8080) == "three"
    cluster.wait(lambda: kept.read_bytes() != before, 10, "it to be kept")


def test_what_does_not_come_up_is_not_good(cluster, programs):
    kept = cluster.state / "last-good"
    cluster.up(service(programs, 2, "http"))
    cluster.wait_up(2, "web")
    cluster.wait(kept.exists, 10, "it to be kept")
    before = kept.read_bytes()
    cluster.configure(service(programs, 2, "http", behave="exits"))
    assert cluster.command("reload", "--wait", check=False, timeout=30).returncode == 1
    cluster.wait_up(2, "web")
    assert kept.read_bytes() == before


def test_without_one_there_is_none(cluster):
    cluster.up("servise x { }", "--last-good")
    assert cluster.wait_exit() == 2
    assert "last good" not in cluster.output
    cluster.state.mkdir(exist_ok=True)
    cluster.file("state/last-good", b"not a bundle")
    cluster.up(None, "--last-good")
    assert cluster.wait_exit() == 2
    assert "the last good configuration" in cluster.output
