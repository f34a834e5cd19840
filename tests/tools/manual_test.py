"""The manual pages: everything stands in them, and formatters find nothing wrong."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"enginx.1": ROOT / "docs/man/enginx.1", "enginx.conf.5": ROOT / "build/src/conf/enginx.conf.5"}


def enginx(*arguments):
    return subprocess.run([ROOT / "build/enginx", *arguments], capture_output=True, text=True, check=True).stdout


def text(page):
    done = subprocess.run(["mandoc", "-Tutf8", "-Owidth=1000", PAGES[page]], capture_output=True, text=True, check=True)
    return re.sub(r".\x08", "", done.stdout)


def commands():
    return re.findall(r"^  (\w+) +\S", enginx("help").split("usage:")[1].split("-c NAME")[0], re.MULTILINE)


def test_every_command_with_all_that_it_takes():
    page = text("enginx.1")
    assert len(commands()) > 10
    for command in commands():
        usage = enginx("help", command).splitlines()[0].removeprefix("usage: ").strip()
        assert re.sub(r"\s+", " ", usage) in page, usage


def test_every_option_that_a_command_knows():
    page = text("enginx.1")
    options = set()
    for source in (ROOT / "src/cli").glob("*.c"):
        if source.name.endswith("_test.c"):
            continue
        options |= set(re.findall(r'\{"(--[a-z-]+)", (?:"(-\w)"|NULL)', source.read_text()))
    assert len(options) > 15
    for name, brief in options:
        assert re.search(rf"(?<![\w-]){name}(?![\w-])", page), name
        assert not brief or re.search(rf"(?<![\w-]){brief}(?![\w-])", page), brief


def test_every_directive():
    page = text("enginx.conf.5")
    names = set(re.findall(r"^  (\S+) ", enginx("help", "--directives"), re.MULTILINE))
    assert len(names) > 50
    for name in names:
        assert re.search(rf"^ {{7}}{name}[ ;]", page, re.MULTILINE), name


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("formatter", [["mandoc", "-Tlint", "-Wwarning"],
                                       ["groff", "-Kutf8", "-man", "-ww", "-z", "-Tutf8"]], ids=lambda one: one[0])
def test_formatters_find_nothing(page, formatter):
    done = subprocess.run([*formatter, PAGES[page]], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr
