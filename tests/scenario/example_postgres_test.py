"""examples/postgres: the primary is killed, a replica is promoted by the example's script; who writes waits no longer than
that takes, what was committed is there, who reads reads on, and the old primary comes back as a replica."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "postgres"
WRITES, READS, OWN = 6432, 6433, 6430
pytestmark = pytest.mark.skipif(not Path("/usr/lib/postgresql/15/bin/initdb").exists(),
                                reason="postgresql is not installed")


class Database:
    def __init__(self, state):
        self.environment = {**os.environ, "PGPASSWORD": (state / "password").read_text(), "PGHOST": "127.0.0.1",
                            "PGUSER": "shop", "PGDATABASE": "shop", "LC_ALL": "C.UTF-8"}

    def ask(self, port, sql, check=True, **environment):
        """What psql prints; None where it fails and `check` is off."""
        done = subprocess.run(["psql", "-XAtq", "-p", str(port), "-c", sql], capture_output=True, text=True, timeout=60,
                              env={**self.environment, **environment}, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip() if done.returncode == 0 else None


class Loop:
    """Asks again and again, each time with a connection of its own: (begun, over, worked) of each."""

    def __init__(self, ask):
        self.ask, self.asked, self.ending = ask, [], threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.ending.is_set():
            begun = time.monotonic()
            worked = self.ask(len(self.asked)) is not None
            self.asked.append((begun, time.monotonic(), worked))

    def end(self):
        self.ending.set()
        self.thread.join()

    def since(self, moment):
        return [one for one in self.asked if one[0] > moment]


def prepare(cluster):
    state = cluster.directory / "postgres"
    user = "postgres" if cluster.account.root else cluster.account.name
    cluster.folder("postgres")
    subprocess.run([EXAMPLE / "prepare", state, user], check=True, cwd="/", timeout=120,
                   env={**cluster.environment, "HOME": "/"}, **cluster.account.options())
    cluster.environment |= {"POSTGRES_STATE": str(state), "POSTGRES_USER": user,
                            "PATH": cluster.environment["PATH"] + ":/usr/lib/postgresql/15/bin"}
    folder = cluster.folder("example")
    shutil.copy(EXAMPLE / "enginx.conf", folder)
    cluster.start("up", folder / "enginx.conf")
    return Database(state)


def roles(cluster):
    return {number: instance["role"] for number, instance in cluster.instances("db").items()}


def wait_roles(cluster, within):
    """Until there is one primary, and all others are replicas; the primary's number."""
    def check():
        found = roles(cluster)
        assert sorted(map(str, found.values())) == ["primary", "replica", "replica"], found
        return next(number for number, role in found.items() if role == "primary")
    return cluster.wait(check, within, "a primary and two replicas")


def test_the_primary_is_killed(cluster):
    database = prepare(cluster)
    cluster.wait_up(3, "db", within=90)
    old = wait_roles(cluster, 30)
    assert database.ask(WRITES, "SHOW cluster_name") == f"server{old}"
    database.ask(WRITES, "CREATE TABLE orders (number int, writer int)")
    cluster.wait(lambda: {database.ask(READS, "SHOW cluster_name") for _ in range(4)} == {"server2", "server3"}, 15,
                 "both replicas to be read")

    # Who waits inside of a transaction when its server dies must be told, and not wait for ever.
    held = subprocess.Popen(["psql", "-XAtq", "-p", str(WRITES), "-c", "SELECT pg_sleep(600)"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=database.environment)
    writers = [Loop(lambda number, writer=writer: database.ask(
        WRITES, f"INSERT INTO orders VALUES ({number}, {writer})", check=False)) for writer in range(2)]
    reader = Loop(lambda _: database.ask(READS, "SELECT count(*) FROM orders", check=False))
    try:
        cluster.wait(lambda: all(len(writer.asked) > 10 for writer in writers), 30, "some writes")
        killed = time.monotonic()
        os.kill(cluster.pid(old, "db"), signal.SIGKILL)
        cluster.wait(lambda: "primary" in [role for number, role in roles(cluster).items() if number != old], 30,
                     "another primary")
        promoted = time.monotonic()
        cluster.wait(lambda: all(len(writer.since(promoted)) > 10 for writer in writers), 30, "writes to go on")
        new = wait_roles(cluster, 60)  # the old one is back, as a replica
        back = time.monotonic()
        cluster.wait(lambda: all(writer.since(back) for writer in writers), 30, "writes after it is back")
    finally:
        for loop in [*writers, reader]:
            loop.end()
    assert "server closed the connection" in held.communicate(timeout=10)[1]

    assert new != old
    for writer in writers:
        failed = [begun for begun, over, worked in writer.asked if not worked]
        assert all(killed - 5 < begun < promoted for begun in failed), (killed, promoted, failed)
        assert len(failed) <= 1, "what comes while there is no primary waits"
        assert max(over - begun for begun, over, _ in writer.since(promoted)) < 15
    assert all(worked for _, _, worked in reader.asked), "who reads reads on"
    for number, writer in enumerate(writers):  # what was committed is there
        there = set(database.ask(WRITES, f"SELECT number FROM orders WHERE writer = {number}").split())
        assert {str(order) for order, (_, _, worked) in enumerate(writer.asked) if worked} <= there

    # The one of before is no place for writes, whichever way one goes.
    assert {database.ask(WRITES, "SHOW cluster_name") for _ in range(5)} == {f"server{new}"}
    address = cluster.instances("db")[old]["address"]
    assert database.ask(OWN, "DELETE FROM orders", check=False, PGHOST=address) is None
    cluster.wait(lambda: database.ask(OWN, "SELECT count(*) FROM orders", PGHOST=address) ==
                 database.ask(WRITES, "SELECT count(*) FROM orders"), 20, "the old one to have what came since")
    assert re.search(rf"failover\.1 +\| promoting server {new}", cluster.output)
