"""A program in a terminal: a pseudo-terminal, keys, and what its screen shows (by pyte)."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading

import pyte

from .processes import wait_for

KEYS = {"up": "\x1b[A", "down": "\x1b[B", "home": "\x1b[1~", "end": "\x1b[4~", "enter": "\r", "escape": "\x1b",
        "backspace": "\x7f", "F6": "\x1b[17~", "page down": "\x1b[6~"}


class Terminal:
    """Starts `command`; a thread keeps reading what it writes. Use as a context: it ends the program."""

    def __init__(self, command, environment, columns=120, rows=30):
        self.master, self.slave = pty.openpty()
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.written = b""
        self.lock = threading.Lock()
        self._size_set(columns, rows)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(command, stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                        env={**environment, "TERM": "linux"} | {
                                            key: value for key, value in environment.items() if key == "TERM"},
                                        start_new_session=True)
        self.reading = True
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(5)
        self.reading = False
        self.reader.join(5)
        os.close(self.master)
        os.close(self.slave)

    def _size_set(self, columns, rows):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self):
        while self.reading:
            if not select.select([self.master], [], [], 0.1)[0]:
                continue
            data = os.read(self.master, 65536)
            with self.lock:
                self.written += data
                self.stream.feed(data)

    def resize(self, columns, rows):
        self._size_set(columns, rows)
        with self.lock:
            self.screen.resize(rows, columns)
        self.process.send_signal(signal.SIGWINCH)

    def press(self, *keys):
        """Names of KEYS, or characters."""
        for key in keys:
            os.write(self.master, KEYS.get(key, key).encode())

    @property
    def lines(self):
        with self.lock:
            return [line.rstrip() for line in self.screen.display]

    @property
    def text(self):
        return "\n".join(self.lines)

    def wait(self, condition, within=10, what="the screen"):
        """Until `condition(text)`, or until it holds that text."""
        test = condition if callable(condition) else lambda text: condition in text

        def check():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.text}"
            assert test(self.text), self.text
            return self.text
        return wait_for(check, within, condition if isinstance(condition, str) else what)

    def settings_are_as_before(self):
        return termios.tcgetattr(self.slave) == self.before
