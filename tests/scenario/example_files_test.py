"""examples/files: the same path comes from the same cache; one that is killed, or one more, moves its share and nothing
else; and what everybody wants at a time is served by more than one."""

import collections
import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from harness.examples import change, start
from harness.origins import get

PORT, ORIGIN = 8080, 8081
PATHS = [f"/files/{number}.txt" for number in range(90)]
pytestmark = pytest.mark.skipif(not Path("/usr/sbin/nginx").exists(), reason="nginx is not installed")


def up(cluster):
    cluster.environment["FILES_USER"] = "www-data" if cluster.account.root else cluster.account.name
    folder = start(cluster, "files")
    cluster.wait_up(3, "cache", within=20)
    cluster.wait_up(1, "origin", within=20)
    return folder


def ask(path):
    answer = get(PORT, path)
    assert answer.status == 200 and answer.body.startswith(path.partition("?")[0].encode()), answer.body[:200]
    return answer.headers["X-Server"], answer.headers["X-Cache"]


def places():
    return {path: ask(path)[0] for path in PATHS}


def asked():
    return json.loads(get(ORIGIN, "/asked").body)


def address(cluster, number):
    return cluster.instances("cache")[number]["address"]


@pytest.mark.both_accounts
def test_the_same_path_comes_from_the_same_cache(cluster):
    folder = up(cluster)
    before = places()
    counts = collections.Counter(before.values())
    assert len(counts) == 3 and min(counts.values()) > len(PATHS) / 3 / 2, counts
    for _ in range(2):
        for path, place in before.items():
            assert ask(path) == (place, "HIT")
    assert asked() == {path: 1 for path in PATHS}
    assert ask(PATHS[0] + "?v=2") == (before[PATHS[0]], "MISS")  # another file, the same path

    # One is killed, and does not come back for the moment: its paths, and no others, go to both of the others.
    dead, pid = address(cluster, 2), cluster.pid(2, "cache")
    change(folder / "nginx.conf", "daemon off;", "daemon of;")
    os.kill(pid, signal.SIGKILL)
    cluster.wait_output(r"cache\.2 .*invalid value \"of\"")
    away = places()
    assert all(away[path] == place for path, place in before.items() if place != dead)
    moved = collections.Counter(away[path] for path, place in before.items() if place == dead)
    assert dead not in moved and len(moved) == 2, moved
    assert asked() == {path: 1 + (before[path] == dead) + (path == PATHS[0]) for path in PATHS}
    change(folder / "nginx.conf", "daemon of;", "daemon off;")
    cluster.wait_restarted(2, pid, "cache", within=30)
    assert places() == before

    # One more takes its share from all alike.
    cluster.command("scale", "cache=4", timeout=30)
    cluster.wait_up(4, "cache", within=20)
    after = places()
    new = address(cluster, 4)
    assert {after[path] for path in PATHS if after[path] != before[path]} == {new}
    assert len(PATHS) / 4 / 2 < list(after.values()).count(new) < len(PATHS) / 4 * 2


def test_one_path_that_everybody_wants(cluster):
    up(cluster)
    first = ask("/popular")[0]
    assert [ask("/popular")[0] for _ in range(20)] == [first] * 20  # one at a time: all from the same
    found, threads = [], []
    for number in range(12):  # a file each for nginx, which would fetch one once
        threads.append(threading.Thread(
            target=lambda number=number: found.append(ask(f"/popular?wait=3&number={number}")[0])))
        threads[-1].start()
    for thread in threads:
        thread.join()
    counts = collections.Counter(found)
    # The threads of the gateway know of each other as of the beginning of a turn: one more is no wonder.
    assert max(counts.values()) <= 12 * 1.25 / 3 + 1 and len(counts) == 3, counts
    assert [ask("/popular")[0] for _ in range(5)] == [first] * 5


def test_start_says_what_to_look_at():
    """The file that people start: what it says is there."""
    folder = Path(__file__).resolve().parents[2] / "examples" / "files"
    done = subprocess.run([folder / "start"], env={**os.environ, "ENGINX": "/bin/true"}, capture_output=True, text=True,
                          check=True, timeout=10)
    assert f"localhost:{PORT}/a" in done.stdout
