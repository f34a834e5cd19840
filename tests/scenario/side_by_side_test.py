"""Services and clusters side by side: programs that believe in the same port, several clusters."""

import pytest

from harness import clients


@pytest.mark.both_accounts
def test_two_services_on_the_same_port(cluster, programs, account):
    cluster.up(f"""
        service red  {{ run {programs.python("web")}; env WHO=red;  instances 2; }}
        service blue {{ run {programs.python("web")}; env WHO=blue; instances 2; }}
        listen 127.0.0.1:8101 tcp -> red;
        listen 127.0.0.1:8102 tcp -> blue;""")
    cluster.wait_up(2, "red")
    cluster.wait_up(2, "blue")
    assert set(clients.who_answers(8101, 20)) == {"red"}
    assert set(clients.who_answers(8102, 20)) == {"blue"}
    for name in ("red", "blue"):
        home = cluster.service(name)["home"]
        if account.root:  # else a socket has one port: the one under which it is published
            assert set(clients.who_answers(8000, 10, host=home)) == {name}


@pytest.mark.both_accounts
def test_several_clusters(clusters, programs):
    first, second = clusters(), clusters()
    first.up(f"""
        service web {{ run {programs.python("web")}; env WHO=first; instances 2; }}
        listen 127.0.0.1:8101 tcp -> web;""")
    second.up(f"""
        service web {{ run {programs.python("web")}; env WHO=second; instances 2; }}
        listen 127.0.0.1:8102 tcp -> web;""")
    first.wait_up(2)
    second.wait_up(2)
    assert first.status()["cluster"] == first.name
    assert second.status()["cluster"] == second.name
    assert set(clients.who_answers(8101, 20)) == {"first"}
    assert set(clients.who_answers(8102, 20)) == {"second"}
    assert first.service()["home"] != second.service()["home"]

    first.down()
    assert clients.refused(8101)
    assert set(clients.who_answers(8102, 20)) == {"second"}
    second.wait_up(2)


def test_a_second_supervisor_of_the_same_cluster_is_refused(cluster, programs):
    cluster.up(f"service web {{ run {programs.python('web')}; env WHO=$instance; }}")
    cluster.wait_up(1)
    done = cluster.command("up", cluster.directory / "enginx.conf", check=False)
    assert done.returncode == 1
    assert cluster.name in done.stderr + done.stdout
    cluster.wait_up(1)
    assert clients.who(8000) == "1"
