"""Conformance: what the standards demand, one case for each demand, byte for byte, against an enginx
between a raw client and a raw origin. The fixtures are those of the scenarios."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scenario"))

import os  # noqa: E402
import tempfile  # noqa: E402

import pytest  # noqa: E402
from harness.cluster import Account, Cluster  # noqa: E402
from harness.fixtures import *  # noqa: E402,F401,F403
from harness.network import Network  # noqa: E402
from harness.clients import refused  # noqa: E402
from harness.processes import wait_for  # noqa: E402
from origin import Origin  # noqa: E402

PORT = 8080


@pytest.fixture(scope="module")
def gateway(place, binary):
    """An enginx at 127.0.0.1:8080 in front of an origin that records what it gets: (enginx, origin).
    One for a whole file: no case may leave it other than it found it."""
    network = Network()
    directory = Path(tempfile.mkdtemp(prefix="conformance-", dir=place))
    directory.chmod(0o755)
    with network.inside():
        origin = Origin()
        cluster = Cluster(binary, directory, Account("root"), network)
        cluster.up(f"""
            service origin {{ at 127.0.0.1:{origin.port}; timeout response=3s connect=1s; retry tries=1; }}
            listen 127.0.0.1:{PORT} http {{
                timeout header=2s body=2s idle=5s;
                bounds header=16k fields=64 body=1m;
                access-log json;
                route / -> origin;
            }}
        """)
        try:
            wait_for(lambda: not refused(PORT), 10, "the gateway to listen")
            yield cluster, origin
            print(cluster.output[-4000:])
        finally:
            cluster.end()
            origin.close()
    network.close()
