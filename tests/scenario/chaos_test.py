"""A short torture by a fixed seed; `make chaos SEED=n MINUTES=m` is the long one (tests/chaos)."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chaos"))
from torture import Torture  # noqa: the folder is named above

SEED = int(os.environ.get("SEED", "1"))
SECONDS = 60 * float(os.environ["MINUTES"]) if "MINUTES" in os.environ else 8


def test_every_failure_is_explained(cluster, programs, record_property):
    logs = cluster.folder("logs")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "tmpfs", logs], check=True)
    torture = Torture(cluster, programs, logs, SEED)
    try:
        problems = torture.run(SECONDS)
        cluster.down()
    finally:
        print(torture.report())
        subprocess.run(["umount", "-l", logs], check=True)
    record_property("chaos", torture.report())
    assert not problems, f"{len(problems)} problems with seed {SEED}:\n" + "\n".join(problems[:20])
