"""examples/openresty: nginx with Lua and unmodified lua-resty plug-ins is a program like any other."""

from harness.examples import Visitors, change, kill_busy, start
from harness.origins import get
from harness.processes import children

PORT = 8080


def up(cluster):
    folder = start(cluster, "openresty")
    cluster.wait_up(1, "memory", within=20)
    cluster.wait_up(2, "nginx", within=20)
    return folder


def text(path):
    answer = get(PORT, path)
    assert answer.status == 200, answer.body
    return answer.body.decode().strip()


def pids(cluster, name="nginx"):
    return {number: instance["pid"] for number, instance in cluster.instances(name).items()}


def wait_all_new(cluster, before):
    for number, pid in before.items():
        cluster.wait_restarted(number, pid, "nginx", within=20)


def test_plug_ins_work_in_all_instances(cluster):
    up(cluster)
    answers = [text("/hits/shoes").split() for _ in range(30)]
    assert [int(count) for _, count in answers] == list(range(1, 31))  # one Redis
    assert {instance for instance, _ in answers} == {"1", "2"}         # from both
    told = [text("/about/shoes") for _ in range(30)]
    assert {line.partition(": ")[2] for line in told} == {"hello, shoes"}
    # Each worker makes it once: the cache is the plug-in's, and a worker's own.
    assert 2 <= sum(" made: " in line for line in told) <= 4


def test_restarts_reloads_and_deaths_are_not_noticed(cluster):
    folder = up(cluster)
    with Visitors(PORT, "/whoami") as load, Visitors(PORT, "/hits/load", 2) as counting, \
            Visitors(PORT, "/whoami", 2, method="POST") as posting:
        load.meet(cluster, "1", "2")
        before = pids(cluster)
        cluster.command("restart", "nginx", timeout=60)
        wait_all_new(cluster, before)
        load.meet(cluster, "1", "2")

        before = pids(cluster)
        change(folder / "enginx.conf", "GREETING=hello", "GREETING=welcome")
        cluster.command("reload", folder / "enginx.conf", timeout=60)
        wait_all_new(cluster, before)
        assert text("/about/shoes").endswith("welcome, shoes")
        load.meet(cluster, "1", "2")
        posting.more(cluster, 20)
        assert not posting.failed and posting.cut == 0  # a POST is tried nowhere else: none was lost

        master = pids(cluster)[1]
        kill_busy(cluster, [load, counting, posting], *children(master))  # the master makes others
        load.meet(cluster, "1")
        kill_busy(cluster, [load, counting, posting], master, *children(master))
        cluster.wait_restarted(1, master, "nginx")
        load.meet(cluster, "1", "2")
        counting.more(cluster, 20)
    assert not load.failed and not counting.failed and load.cut == counting.cut == 0
