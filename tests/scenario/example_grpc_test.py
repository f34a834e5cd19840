"""examples/grpc does what its page says, and a restart loses no call."""

import json
import subprocess
import threading

from harness.examples import start
from harness.programs import PYTHON


def client(folder):
    done = subprocess.run([PYTHON, folder / "client.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example(cluster):
    folder = start(cluster, "grpc")
    cluster.wait_up(3, "stock", within=20)
    said = client(folder).splitlines()
    met = json.loads(said[0].partition("instances ")[2].replace("'", '"'))
    assert sum(met.values()) == 30 and len(met) == 3, said
    assert [line.split(":")[0] for line in said[1:]] == ["watched"] * 3 + ["haggled"] * 3 + ["a deadline"]
    assert said[-1] == "a deadline: DEADLINE_EXCEEDED"
    results = []
    load = threading.Thread(target=lambda: [results.append(client(folder)) for _ in range(4)])
    load.start()
    cluster.command("restart", "stock", timeout=60)
    load.join()
    assert len(results) == 4
