"""A program that runs as an unprivileged user, and listens on a port below 1024."""

import re

import pytest

from harness import clients, fixtures


def test_below_1024_as_nobody(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance PORT=81; user nobody; instances 2; }}""")
    cluster.wait_up(2)
    assert set(clients.who_answers(81, 20)) == {"1", "2"}


def test_published_below_1024(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; user nobody; instances 2; }}
        listen 80 tcp -> web;""")
    cluster.wait_up(2)
    assert set(clients.who_answers(80, 20)) == {"1", "2"}


@pytest.fixture
def nobody(clusters):
    return clusters(fixtures.Account("nobody"))


@pytest.mark.parametrize("how", ["tcp", "http"])
def test_published_below_1024_without_the_right(nobody, programs, how):
    text = f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen 80 {how} -> web;"""
    path = nobody.configure(text)
    done = nobody.command("up", path, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "listen tcp:80" in said and "CAP_NET_BIND_SERVICE" in said, said
    explained = nobody.command("check", "--explain", path).stdout
    assert re.search(r"listen +tcp:80.*CAP_NET_BIND_SERVICE", explained), explained


def test_reload_to_below_1024_without_the_right(nobody, programs):
    text = f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen PORT tcp -> web;"""
    nobody.up(text.replace("PORT", "8080"))
    nobody.wait_up(2)
    nobody.configure(text.replace("PORT", "80"))
    done = nobody.command("reload", check=False)
    assert done.returncode == 1 and "CAP_NET_BIND_SERVICE" in done.stderr, done
    assert set(clients.who_answers(8080, 20)) == {"1", "2"}
