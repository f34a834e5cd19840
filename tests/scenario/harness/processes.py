"""What /proc tells about processes."""

import os
import time


def read(pid, name):
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def alive(pid):
    state = read(pid, "stat").rpartition(b")")[2].split()
    return bool(state) and state[0] not in (b"Z", b"X")


def parent(pid):
    fields = read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def children(pid):
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and parent(name) == pid]


def ancestors(pid):
    """The process itself, its parent, and so on."""
    chain = []
    while pid > 1 and pid not in chain:
        chain.append(pid)
        pid = parent(pid)
    return chain


def command_line(pid):
    return read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def environment(pid):
    pairs = (entry.partition(b"=") for entry in read(pid, "environ").split(b"\0") if entry)
    return {name.decode(): value.decode() for name, _, value in pairs}


def descriptors(pid):
    """Descriptor number → what it is."""
    found = {}
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                pass
    except OSError:
        pass
    return found


def wait_for(condition, within, what):
    """Calls `condition` until it gives something true, and returns that; fails after `within`
    seconds. The condition may raise AssertionError to say what it still misses."""
    deadline = time.monotonic() + within
    reason = ""
    while True:
        try:
            value = condition()
            if value:
                return value
        except AssertionError as error:
            reason = f": {error}"
        if time.monotonic() > deadline:
            raise AssertionError(f"after {within} s still waiting for {what}{reason}")
        time.sleep(0.03)
