"""Programs that manage processes of their own — they replace workers, read their configuration anew,
take another executable, go into the background — inside an instance, under load: nobody notices."""

import os
import signal

import pytest

from harness.examples import Visitors
from harness.processes import children, command_line

PORT = 8080
both_accounts = pytest.mark.both_accounts


def service(programs, run, more=""):
    return f"""
        service web {{
            {run} env WHO=$instance PYTHONPATH={programs.folder} PYTHONDONTWRITEBYTECODE=1;
            instances 2; {more}
        }}
        listen {PORT} http -> web;"""


@both_accounts
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_gunicorn_replaces_its_workers(cluster, programs, kind):
    # With threads it keeps connections, and takes requests on them that it never answers when a worker
    # ends: what must not be sent twice needs a connection of its own.
    kept = "capacity idle=0;" if kind == "gthread" else ""
    cluster.up(service(programs, f"""
        run gunicorn --workers 2 --worker-class {kind} --max-requests 25 --max-requests-jitter 10
            --worker-tmp-dir /dev/shm --bind 127.0.0.1:8000 applications:wsgi;""", kept))
    cluster.wait_up(2, within=20)
    masters = {number: instance["pid"] for number, instance in cluster.instances().items()}
    before = {pid for master in masters.values() for pid in children(master)}
    with Visitors(PORT, "/", 3) as load, Visitors(PORT, "/", 1, method="POST") as posting:
        load.meet(cluster, "1", "2")
        posting.more(cluster, 40, within=30)
        cluster.wait(lambda: not before & {pid for master in masters.values() for pid in children(master)},
                     20, "all workers to be others")
    assert not load.failed and not posting.failed and load.cut == posting.cut == 0
    assert {number: instance["pid"] for number, instance in cluster.instances().items()} == masters


@both_accounts
def test_uvicorn_with_workers(cluster, programs):
    cluster.up(service(programs, "run uvicorn --workers 2 --port 8000 --no-access-log applications:asgi;"))
    cluster.wait_up(2, within=20)
    with Visitors(PORT, "/", 3) as load:
        load.meet(cluster, "1", "2")
        before = {number: instance["pid"] for number, instance in cluster.instances().items()}
        cluster.command("restart", "web", timeout=60)
        for number, pid in before.items():
            cluster.wait_restarted(number, pid, within=20)
        load.meet(cluster, "1", "2")
    assert not load.failed and load.cut == 0


def nginx(programs, daemon):
    """Both instances are of the one configuration; the prefix is a folder of the instance's own."""
    return f"""
        service web {{
            run /usr/sbin/nginx -p $state/ -e stderr -c {programs.path("nginx.conf")} -g "daemon {daemon};";
            instances 2; stop SIGQUIT within=5s;
        }}
        listen {PORT} http -> web;"""


def workers(master):
    return {pid for pid in children(master) if "worker process" in command_line(pid)}


@both_accounts
def test_nginx_reads_its_configuration_anew(cluster, programs):
    cluster.up(nginx(programs, "off"))
    cluster.wait_up(2)
    masters = {number: instance["pid"] for number, instance in cluster.instances().items()}
    with Visitors(PORT, "/", 4) as load:
        load.more(cluster, 50)
        for master in masters.values():
            before = cluster.wait(lambda: workers(master), 5, "workers")
            os.kill(master, signal.SIGHUP)  # what `nginx -s reload` does
            cluster.wait(lambda: workers(master) and not before & workers(master), 10, "other workers")
            load.more(cluster, 50)
    assert not load.failed and load.cut == 0
    assert {number: instance["pid"] for number, instance in cluster.instances().items()} == masters
    assert all(instance["restarts"] == 0 for instance in cluster.instances().values())


def test_nginx_takes_another_executable(cluster, programs):
    """Its own way: USR2 starts a new master on the same sockets, QUIT ends the old one. nginx itself does
    so in the background only."""
    cluster.up(nginx(programs, "on"))
    cluster.wait_up(2)
    with Visitors(PORT, "/", 4) as load:
        for number in (1, 2):
            old = cluster.pid(number)
            load.more(cluster, 30)
            os.kill(old, signal.SIGUSR2)
            new = cluster.wait(lambda: only(masters_of(cluster, number) - {old}), 10, "a new master")
            cluster.wait(lambda: workers(new), 5, "its workers")
            os.kill(old, signal.SIGQUIT)
            cluster.wait(lambda: cluster.pid(number) == new, 10, "the new master to be the instance's")
            load.more(cluster, 30)
        assert all(instance["state"] == "up" and instance["restarts"] == 0
                   for instance in cluster.instances().values())
        # It is an instance like any other: restarted when it dies.
        os.kill(cluster.pid(1), signal.SIGKILL)
        cluster.wait_restarted(1, new)
        load.more(cluster, 30)
    assert not load.failed and load.cut == 0


def only(pids):
    """The one; None while there are others, as a worker that has its own title not yet."""
    return next(iter(pids)) if len(pids) == 1 else None


def masters_of(cluster, number):
    state = f"/web.{number}/"
    return {pid for pid in cluster.network.processes()
            if "master process" in command_line(pid) and state in command_line(pid)}
