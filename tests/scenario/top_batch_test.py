"""`enginx top --batch`: the cluster as text, for pipes."""

import signal
import subprocess

from harness import clients, processes


def configuration(programs):
    return f"""
        quota memory=2g;
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; port 8000; }}
        service far {{ run {programs.python("web")}; env WHO=far; env PORT=8001; port 8001; }}
        job report {{ run /bin/true; at 03:00; }}
        listen 8080 http {{ route / -> web; }}
        listen 8090 tcp -> far;"""


def table(text):
    """Column → text of each row, by the row's name, of the last look."""
    lines = text.rstrip("\n").split("\n\n")[-1].splitlines()
    titles = next(i for i, line in enumerate(lines) if line.startswith("NAME"))
    names = lines[titles].split()
    return {row.split()[0]: dict(zip(names, row.split())) for row in lines[titles + 1:]}


def order(text):
    return list(table(text))


def test_table(cluster, programs):
    cluster.up(configuration(programs))
    cluster.wait_up(2, "web")
    cluster.wait_up(1, "far")
    for _ in range(20):
        clients.answer(8080)
    text = cluster.command("top", "-n", "1", "--interval", "200ms").stdout
    head = text.splitlines()
    assert head[0].startswith(f"{cluster.name}  enginx ") and "3 of 3 instances up" in head[0]
    assert "generation 1" in head[0] and " of 2.0G" in head[1]
    rows = table(text)
    assert list(rows) == ["far", "far.1", "web", "web.1", "web.2", "report"]
    assert rows["web"]["STATE"] == "2/2" and rows["web.1"]["STATE"] == "up"
    assert rows["report"]["STATE"] == "waits" and rows["web"]["MEM"].endswith("M")
    reversed_order = order(cluster.command("top", "-n", "1", "-i", "200ms", "--reverse").stdout)
    assert reversed_order[:5] == ["web", "web.2", "web.1", "far", "far.1"]
    found = order(cluster.command("top", "-n", "1", "-i", "200ms", "--filter", "WEB.2").stdout)
    assert found == ["web", "web.2"]


def test_rates_and_listeners(cluster, programs):
    cluster.up(configuration(programs))
    cluster.wait_up(2, "web")
    cluster.wait_up(1, "far")

    watched = subprocess.Popen(cluster.arguments("top", "-n", "3", "-i", "1s"), stdout=subprocess.PIPE, text=True,
                               stdin=subprocess.DEVNULL, env=cluster.environment)
    while watched.poll() is None:
        clients.answer(8080)
    rows = table(watched.communicate()[0])
    assert rows["web"]["P95"] != "-" and rows["web.1"]["MEAN"] != "-"
    assert rows["web"]["RATE/s"] not in ("-", "0") and rows["web.2"]["RATE/s"] not in ("-", "0")
    assert rows["far"]["RATE/s"] == "0"
    rows = table(cluster.command("top", "-n", "1", "-i", "200ms", "--view", "listeners").stdout)
    assert rows["tcp:8080"]["STATE"] == "http" and rows["tcp:8080"]["RATE/s"] != "-"
    assert rows["tcp:8090"]["STATE"] == "direct" and rows["tcp:8090"]["RATE/s"] == "-"


def test_wrong_use(cluster):
    assert cluster.command("top", "--sort", "colour", check=False).returncode == 2
    assert cluster.command("top", "-n", "0", check=False).returncode == 2
    assert cluster.command("top", "--interval", "1ms", check=False).returncode == 2
    done = cluster.command("top", "-n", "1", check=False)
    assert done.returncode == 1 and "not running" in done.stderr and not done.stdout


def test_cluster_goes_and_comes(cluster, programs):
    cluster.up(configuration(programs))
    cluster.wait_up(2, "web")
    printed = cluster.directory / "printed"
    with open(printed, "w") as out:
        top = subprocess.Popen(cluster.arguments("top", "--interval", "100ms"), stdout=out, stderr=out,
                               stdin=subprocess.DEVNULL, env=cluster.environment)
    try:
        cluster.wait(lambda: "web.2" in printed.read_text(), 10, "a table")
        cluster.down()
        processes.wait_for(lambda: "# the cluster does not run" in printed.read_text(), 10, "its word on that")
        cluster.up()
        cluster.wait(lambda: "# another supervisor answers" in printed.read_text(), 10, "the other one")
        cluster.wait(lambda: "web.2" in printed.read_text().split("# another")[1], 10, "a table again")
    finally:
        top.terminate()
        assert top.wait(5) == -signal.SIGTERM


def test_ends_with_its_reader(cluster, programs):
    cluster.up(configuration(programs))
    cluster.wait_up(2, "web")
    for before in ("", "trap '' PIPE; "):  # by the signal, or by the error
        line = f"{before}{' '.join(cluster.arguments('top', '-i', '100ms'))} | head -n 1"
        done = subprocess.run(["timeout", "10", "bash", "-c", line], env=cluster.environment, capture_output=True,
                              stdin=subprocess.DEVNULL, text=True)
        assert done.returncode == 0 and done.stdout.startswith(cluster.name) and not done.stderr
