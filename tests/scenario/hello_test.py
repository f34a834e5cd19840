"""examples/hello does what its page shows: all instances of both programs answer."""

import re
import shutil
from pathlib import Path

import pytest

from harness import clients

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hello"


@pytest.mark.both_accounts
def test_hello(cluster):
    folder = cluster.directory / "hello"
    shutil.copytree(EXAMPLE, folder)
    cluster.start("up", folder / "enginx.conf")
    cluster.wait_up(3, "node")
    cluster.wait_up(2, "python")
    for port, language, count in ((8080, "node", 3), (8081, "python", 2)):
        page = clients.ask(port, path="/")
        assert re.search(rf"This page came from <b>{language} instance \d, process \d+</b>", page)
        met = {clients.ask(port) for _ in range(30)}
        assert len(met) == count, met
        assert all(re.fullmatch(rf"{language} instance \d, process \d+", one) for one in met)
