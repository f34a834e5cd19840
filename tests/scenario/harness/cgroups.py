"""The control groups that a test's enginx makes: finding them, and removing what is left."""

import os
import signal
from pathlib import Path

from .processes import wait_for


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


class Delegated:
    """Groups that root gives to a user, one in each hierarchy that enginx uses, as systemd does for a
    unit with Delegate=yes. `only_v2`: without those of v1, which hold the limits on hybrid machines."""

    CONTROLLERS = ("memory", "cpu", "pids", "io", "blkio")  # of v2 and v1

    def __init__(self, account, name, only_v2=False):
        self.account = account
        self.paths = []  # v2's first
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, mount, kind, options = line.split()[:4]
            if kind == "cgroup2":
                self.paths.insert(0, Path(mount) / name)
            elif kind == "cgroup" and not only_v2 and set(options.split(",")) & set(self.CONTROLLERS):
                self.paths.append(Path(mount) / name)
        for controller in self.CONTROLLERS:
            try:
                (self.v2.parent / "cgroup.subtree_control").write_text(f"+{controller}")
            except OSError:
                pass  # bound to v1
        for path in self.paths:
            path.mkdir()
            for given in (path, *(path / f"cgroup.{file}"
                                  for file in ("procs", "threads", "subtree_control"))):
                if given.exists():
                    os.chown(given, account.uid, account.gid)

    @property
    def v2(self):
        return self.paths[0]

    def entering(self, base):
        """The beginning of a command line that enters the groups (or the leaf into which an enginx
        with that base has moved itself) and goes on as the user."""
        account = self.account
        script = ("""while [ "$1" != -- ]; do
            for group in "$1/$0.self" "$1"; do echo $$ 2>/dev/null >"$group/cgroup.procs" && break; done
            shift; done; shift; exec "$@\"""")
        return ["/bin/sh", "-c", script, base, *map(str, self.paths), "--", "setpriv",
                "--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"]

    def below(self, base):
        """The groups that an enginx with that base has made, but for its own leaf."""
        return [Path(name) for path in self.paths for name, _, _ in os.walk(path / base)]

    def remove(self):
        for path in self.paths:
            for name, _, _ in os.walk(path, topdown=False):
                for pid in processes(name):
                    os.kill(pid, signal.SIGKILL)
                wait_for(lambda: not processes(name), 5, "a killed process to end")
                os.rmdir(name)


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
