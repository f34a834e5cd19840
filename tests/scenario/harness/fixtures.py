"""Scenarios: real programs at both ends of a real enginx.

`cluster` is the fixture that nearly all use. It runs as root; a scenario that must hold without
privileges too is marked `@both_accounts`, and gets `account` root and nobody in turn. The binary is
the one that ENGINX names, build/enginx otherwise.
"""

import fcntl
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from .cluster import Account, Cluster
from .network import Network
from .processes import alive, command_line, wait_for
from .programs import Programs

ROOT = Path(__file__).resolve().parents[3]
DESCRIPTORS = 8192  # for clients that hold thousands of connections


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="scenarios need root for network namespaces"))


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.when == "call":
        item.scenario_failed = report.failed


@pytest.fixture(scope="session", autouse=True)
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, max(hard, DESCRIPTORS)))


@pytest.fixture(scope="session", autouse=True)
def bpf_file_system():
    """Mounted before any scenario, since two that mount at the same time would hide each other."""
    with open("/tmp/enginx-test-bpf.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if " /sys/fs/bpf bpf " not in Path("/proc/self/mounts").read_text():
            subprocess.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=False)


@pytest.fixture(scope="session")
def place():
    """A folder that every account may look into, which pytest's own is not."""
    path = Path(tempfile.mkdtemp(prefix="enginx-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def binary(place):
    """A copy, since the source tree may lie where only root may look."""
    source = Path(os.environ.get("ENGINX", ROOT / "build" / "enginx"))
    assert source.exists(), f"{source} is missing: build first, or set ENGINX"
    return shutil.copy2(source, place / "enginx")


@pytest.fixture(scope="session")
def programs(place):
    return Programs(place / "programs")


@pytest.fixture
def network():
    """The namespace that the scenario is in, from its first line to its last."""
    made = Network()
    with made.inside():
        yield made
    made.close()


@pytest.fixture
def account(request):
    return Account(getattr(request, "param", "root"))


@pytest.fixture
def clusters(request, place, binary, network, account):
    """Makes clusters; all end with the scenario, and nothing may be left in its namespace."""
    made = []
    folder = Path(tempfile.mkdtemp(prefix="scenario-", dir=place))
    folder.chmod(0o755)

    def make(as_account=None):
        owner = as_account or account
        directory = folder / str(len(made) + 1)
        directory.mkdir()
        os.chown(directory, owner.uid, owner.gid)
        made.append(Cluster(binary, directory, owner, network))
        return made[-1]

    yield make

    failed = getattr(request.node, "scenario_failed", True)
    problems = []
    for cluster in reversed(made):
        if failed:
            print(f"---- output of enginx ({cluster.name}):\n{cluster.output[-6000:]}")
        try:
            cluster.end(failed)
        except AssertionError as error:
            problems.append(str(error))
    problems += clear_processes(network)
    shutil.rmtree(folder, ignore_errors=True)
    assert failed or not problems, "\n".join(problems)


def clear_processes(network):
    """Kills what is left in the namespace, and tells of it."""
    def left():
        return [pid for pid in network.processes() if alive(pid)]

    try:
        wait_for(lambda: not left(), 2, "the processes to end")
    except AssertionError:
        pass
    found = [f"process {pid} is left: {command_line(pid)}" for pid in left()]
    for pid in left():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return found


@pytest.fixture
def cluster(clusters):
    return clusters()


def pytest_configure(config):
    config.addinivalue_line("markers", "both_accounts: as root and as an unprivileged user")
    config.addinivalue_line("markers", "xdist_group(name): in one worker, since they share what they set up")


def pytest_generate_tests(metafunc):
    if metafunc.definition.get_closest_marker("both_accounts"):
        metafunc.parametrize("account", ["root", "nobody"], indirect=True)
