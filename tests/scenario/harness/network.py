"""Network namespaces: each scenario has one of its own, so ports never collide and what is left over
is easy to find. The scenario's thread enters the namespace, and all that it starts is in it."""

import contextlib
import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def call(function, *arguments):
    if function(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def current():
    """A descriptor of the namespace that this thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Network:
    """A namespace of its own with loopback up; holds it open until close()."""

    def __init__(self):
        before = current()
        try:
            call(libc.unshare, CLONE_NEWNET)
            self.descriptor = current()
            self.inode = os.fstat(self.descriptor).st_ino
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        finally:
            call(libc.setns, before, CLONE_NEWNET)
            os.close(before)

    @contextlib.contextmanager
    def inside(self):
        """The calling thread, and the threads and processes that it starts, are in it."""
        before = current()
        call(libc.setns, self.descriptor, CLONE_NEWNET)
        try:
            yield self
        finally:
            call(libc.setns, before, CLONE_NEWNET)
            os.close(before)

    def connect(self, other, ours, theirs):
        """A cable to another namespace; `ours` and `theirs` are addresses like "10.9.0.1/24"."""
        with self.inside():
            peer = f"/proc/{os.getpid()}/fd/{other.descriptor}"
            ip("link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", peer)
            ip("address", "add", ours, "dev", "cable0")
            ip("link", "set", "cable0", "up")
        with other.inside():
            ip("address", "add", theirs, "dev", "cable1")
            ip("link", "set", "cable1", "up")

    def processes(self):
        """The processes in it, without this one."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    if os.stat(f"/proc/{name}/ns/net").st_ino == self.inode:
                        found.append(int(name))
                except OSError:
                    pass  # it has ended, or is a zombie
        return found

    def close(self):
        os.close(self.descriptor)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)
