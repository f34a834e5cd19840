"""`enginx top` in a terminal: real keys, a real cluster, and what the screen shows."""

import os
import re
import signal

import pytest

from harness import processes
from harness.terminal import Terminal


# What a terminal must not be given: a colour, a title, "clear all", and C1's CSI as one character.
NOISE = "; ".join([
    "import http.server as web",
    'print("first" + chr(27) + "[31mred" + chr(27) + "]0;title" + chr(7) + chr(27) + "[2J" + chr(0x9b) + "2J")',
    'print("Gr" + chr(0xfc) + "n and " + chr(0x4e2d))',
    'web.HTTPServer(("", 8002), web.BaseHTTPRequestHandler).serve_forever()'])


def configuration(programs):
    return f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; port 8000; }}
        service shop {{ run {programs.python("web")}; env WHO=shop; env PORT=8001; port 8001; }}
        service noisy {{ run /usr/bin/python3 -u -c '{NOISE}'; port 8002; }}
        job report {{ shell 'echo reported'; at 03:00; }}
        listen 8080 http {{ route / -> web; }}"""


@pytest.fixture
def top(cluster, programs):
    def start(*arguments, text=None, columns=120, rows=30, **environment):
        cluster.up(text or configuration(programs))
        cluster.wait_output("ready cluster")
        return Terminal(cluster.arguments("top", "--interval", "200ms", *arguments),
                        {**cluster.environment, **environment}, columns, rows)
    return start


COLOUR = re.compile(rb"\x1b\[(?:\d+;)*3[0-7](?:;\d+)*m")
ROLES = ("supervisor", "keeper", "logger", "gateway", "opener")  # and `top` is one more


def names(text):
    """The first words of the rows below the titles."""
    lines = text.splitlines()
    titles = next((i for i, line in enumerate(lines) if line.startswith("NAME")), len(lines))
    return [line.split()[0] for line in lines[titles + 1:-1] if line.strip()]


def choose(terminal, name):
    """Moves the cursor, which is the row in reverse, to this row."""
    terminal.press("home")
    for _ in range(names(terminal.text).index(name)):
        terminal.press("down")

    def chosen():
        with terminal.lock:
            screen = terminal.screen
            rows = [row for row in range(3, screen.lines) if screen.buffer[row][0].reverse]
            return [screen.display[row].split()[:1] for row in rows] == [[name]]
    processes.wait_for(chosen, 5, f"{name} to be chosen")


def test_sorts_filters_and_folds(top, cluster):
    with top() as terminal:
        terminal.wait("web.2")
        assert names(terminal.text) == ["noisy", "noisy.1", "shop", "shop.1", "web", "web.1", "web.2", "report"]
        assert f"{cluster.name}  enginx " in terminal.text and "4 of 4 instances up" in terminal.text
        terminal.press("M")  # both of web have more memory than one
        terminal.wait(lambda text: names(text)[:1] == ["web"], what="web first")
        terminal.press("I")
        terminal.wait(lambda text: names(text)[4:5] == ["web"], what="web last")
        terminal.press("F6", "home", "enter")
        terminal.wait(lambda text: names(text)[:1] == ["noisy"], what="the order of names")
        terminal.press("/", "w", "x", "backspace", "e", "b", ".")
        terminal.wait("filter: web.")
        terminal.wait(lambda text: names(text) == ["web", "web.1", "web.2"], what="what is left")
        terminal.press("enter", "escape")
        terminal.wait("shop.1")
        choose(terminal, "web.2")
        terminal.press("\x1b[1;9d", "\x1b[?99q", "\x1bOo")  # keys of a terminal that nobody knows
        terminal.press(" ")
        terminal.wait(lambda text: names(text)[4:] == ["+", "report"], what="web folded")
        terminal.press(" ")
        terminal.wait("web.2")
        terminal.press("t")
        terminal.wait(lambda text: names(text)[:1] == ["noisy.1"] and "shop" not in names(text), what="no services")
        terminal.press("v")
        terminal.wait("tcp:8080")
        terminal.press("?")
        terminal.wait("drain the instance; undo it")
        terminal.press("q")
        terminal.wait("tcp:8080")
        terminal.press("q")
        assert terminal.process.wait(5) == 0
        assert terminal.settings_are_as_before()


def test_commands(top, cluster):
    with top() as terminal:
        terminal.wait("web.2")
        choose(terminal, "web.2")
        terminal.press("d")
        terminal.wait("drain web.2? (y/n)")
        terminal.press("n")
        terminal.wait(lambda text: "(y/n)" not in text, what="the question to go")
        assert cluster.instances("web")[2]["state"] == "up"
        terminal.press("d", "y")
        terminal.wait("drain web.2: done")
        cluster.wait_state("draining", "web", 2)
        terminal.wait(lambda text: "draining" in text, what="the state")
        terminal.press("u")
        terminal.wait("undrain web.2: done")
        cluster.wait_up(2, "web")
        terminal.press("s", "3", "enter")
        terminal.wait("scale web to 3: done")
        cluster.wait_up(3, "web")
        terminal.wait("web.3")
        before = cluster.pid(2, "web")
        terminal.press("r", "y")
        terminal.wait("restart web.2: done", 20)
        assert cluster.pid(2, "web") != before
        choose(terminal, "report")
        terminal.press("d")
        terminal.wait("it is a job")
        terminal.press("j", "y")
        terminal.wait("run job report: done")
        terminal.wait("job in")


def test_roll_shows_its_progress(top, cluster):
    with top() as terminal:
        terminal.wait("web.2")
        before = {cluster.pid(number, "web") for number in (1, 2)}
        choose(terminal, "web")
        terminal.press("o", "y")
        terminal.wait(lambda text: re.search(r"roll web: web: .*\d of \d", text), what="how it goes")
        terminal.press("M", "N")  # it does not wait for it
        terminal.wait("roll web: done", 30)
        assert not before & {cluster.pid(number, "web") for number in (1, 2)}


def test_logs_are_harmless(top, cluster):
    with top() as terminal:
        terminal.wait("noisy.1")
        choose(terminal, "noisy.1")
        terminal.press("l")
        text = terminal.wait("Grün and 中")
        assert "first?[31mred?]0;title??[2J?2J" in text and "web" not in text
        assert terminal.screen.title == "" and b"\x1b]0;title" not in terminal.written
        os.kill(cluster.pid(1, "noisy"), signal.SIGKILL)  # its next start prints anew
        terminal.wait(lambda text: text.count("Grün and 中") == 2, what="new lines")
        terminal.press("q")
        terminal.wait("report")
        assert len(cluster.enginx_processes()) == len(ROLES) + 1  # no reader of logs is left


def test_signals_and_resize(top, cluster):
    with top() as terminal:
        terminal.wait("web.2")
        for columns, rows in ((10, 3), (1, 1), (200, 50), (40, 2)):
            terminal.resize(columns, rows)
            terminal.press("down", "?", "down", "q", "F6", "down", "escape", "/", "w", "escape")
        terminal.resize(100, 20)
        terminal.wait("web.2")
        terminal.press("l")
        terminal.process.terminate()
        assert terminal.process.wait(5) == -signal.SIGTERM
        assert terminal.settings_are_as_before()
        processes.wait_for(lambda: b"\x1b[?25h" in terminal.written[-200:], 5, "the cursor to be there again")


def test_cluster_goes_and_comes(top, cluster):
    with top() as terminal:
        terminal.wait("web.2")
        os.kill(cluster.status()["pid"], signal.SIGKILL)
        cluster.wait_exit()
        terminal.wait("the cluster does not run")
        assert "web.2" in terminal.text  # what was seen last
        cluster.up()
        terminal.wait("another supervisor answers")
        cluster.wait_up(2, "web")
        terminal.press("q")
        assert terminal.process.wait(5) == 0


def test_colours(top, cluster):
    with top(NO_COLOR="1") as terminal:
        terminal.wait("web.2")
        assert not COLOUR.search(terminal.written)
    with Terminal(cluster.arguments("top"), cluster.environment) as terminal:
        terminal.wait("web.2")
        processes.wait_for(lambda: COLOUR.search(terminal.written), 5, "a colour")
    with Terminal(cluster.arguments("top"), {**cluster.environment, "TERM": "dumb"}) as terminal:
        assert terminal.process.wait(5) == 1
        processes.wait_for(lambda: "cannot move its cursor" in terminal.text, 5, "its word on that")
