"""A short torture by a fixed seed; `make chaos SEED=n MINUTES=m` is the long one (tests/chaos)."""

import os
import sys
from pathlib import Path

import pytest

from harness.cluster import Account

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chaos"))
from torture import Torture  # noqa: the folder is named above

SEED = int(os.environ.get("SEED", "305"))  # begins with what is rarest elsewhere: clock, descriptors, full disk
SECONDS = 60 * float(os.environ["MINUTES"]) if "MINUTES" in os.environ else 6


@pytest.fixture
def account():
    return Account(os.environ.get("ACCOUNT", "root"))


def test_every_failure_is_explained(cluster, programs, record_property):
    torture = Torture(cluster, programs, SEED)
    try:
        problems = torture.run(SECONDS)
    finally:
        print(torture.report())
    record_property("chaos", torture.report())
    assert not problems, f"{len(problems)} problems with seed {SEED}:\n" + "\n".join(problems[:20])
