"""A program that runs as an unprivileged user, and listens on a port below 1024."""

from harness import clients


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
