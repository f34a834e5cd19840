"""The control groups that a test's enginx makes: finding them, and removing what is left."""

import os
import signal
from pathlib import Path


def hierarchies():
    """Mount points with the test process's own group in each."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, options = line.split()[:4]
        if kind == "cgroup2":
            found.append((mount, own.get("", "/")))
        elif kind == "cgroup":
            controllers = [name for name in own if name and name in options.split(",")]
            found.append((mount, own[controllers[0]] if controllers else "/"))
    return found


def folders(base):
    """The folders of that name below each hierarchy's root, or below our own group."""
    found = []
    for mount, own in hierarchies():
        for place in {mount, mount + own.rstrip("/"), str(Path(mount + own).parent)}:
            path = Path(place) / base
            if path.is_dir():
                found.append(path)
    return found


def all_below(base):
    """All groups below the folders of that name, the deepest first."""
    found = []
    for folder in folders(base):
        found += [Path(name) for name, _, _ in os.walk(folder, topdown=False)]
    return found


def processes(path):
    try:
        return [int(line) for line in (Path(path) / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def clear(base):
    for path in all_below(base):
        for pid in processes(path):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
    for path in all_below(base):
        try:
            path.rmdir()
        except OSError:
            pass
