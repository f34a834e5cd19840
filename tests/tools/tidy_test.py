"""tools/tidy finds each fault, and finds none in a tree without any."""

import importlib.machinery
import importlib.util
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MAP = """# Architecture

<!-- map -->
```
src/base/              arena, buffer
src/proc/ src/tls/     side by side
src/cli/               commands
src/main.c             the start
docs/                  text
                       that goes on
```
<!-- end of the map -->
"""
HEADER = "/* What it is. */\n#pragma once\n"
GOOD = {
    "ARCHITECTURE.md": MAP,
    "docs/a.md": "text\n",
    "src/meson.build": "",
    "src/main.c": '#include "cli/cli.h"\n',
    "src/base/arena.h": HEADER,
    "src/base/arena.c": '#include "base/arena.h"\n',
    "src/base/arena_test.c": '#include "base/arena.h"\n',
    "src/base/meson.build": "foreach name : ['arena']\nendforeach\n",
    "src/proc/role.h": HEADER + '\n#include "base/arena.h"\n',
    "src/tls/tls.h": HEADER,
    "src/cli/cli.h": HEADER + '\n#include "proc/role.h"\n#include "tls/tls.h"\n',
}


def load():
    loader = importlib.machinery.SourceFileLoader("tidy", str(ROOT / "tools" / "tidy"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tidy", loader))
    loader.exec_module(module)
    return module


tidy = load()


def check(folder, **changes):
    """Problems of the good tree with some files changed (None: removed)."""
    for name, text in {**GOOD, **changes.pop("files", {})}.items():
        if text is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (folder / ".clang-format").write_text((ROOT / ".clang-format").read_text())
    return tidy.problems(folder)


def test_a_good_tree(tmp_path):
    assert check(tmp_path) == []


@pytest.mark.parametrize("name, text, said", [
    ("ARCHITECTURE.md", "# no map\n", "no map"),
    ("ARCHITECTURE.md", MAP.replace("src/cli/ ", "src/cly/ "), "does not exist"),
    ("ARCHITECTURE.md", MAP.replace("src/cli/ ", "src/base/ "), "src/cli is not in the map"),
    ("ARCHITECTURE.md", MAP.replace("docs/", "Makefile"), "docs is not in the map"),
    ("src/base/arena.c", '#include "cli/cli.h"\n', "stands below"),
    ("src/proc/role.h", HEADER + '\n#include "tls/tls.h"\n', "side by side"),
    ("src/base/arena.c", '#include "arena.h"\n', 'write "base/arena.h"'),
    ("src/tls/tls.h", "#pragma once\n", "begins with a comment"),
    ("src/tls/tls.h", "/* What it is. */\n", "#pragma once"),
    ("src/base/buffer_test.c", '#include "base/arena.h"\n', "no meson.build"),
    ("src/base/arena.c", "int a;\n" * 801, "801 lines"),
    ("docs/a.md", "text \n", "white space"),
    ("docs/a.md", "text", "no newline"),
    ("src/base/arena.c", "int  a ;\n", "clang-format"),
])
def test_a_fault_is_found(tmp_path, name, text, said):
    found = check(tmp_path, files={name: text})
    assert any(said in what for _, _, what in found), found


def test_what_git_ignores_is_not_looked_at(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    found = check(tmp_path, files={".gitignore": "/build/\n", "build/a.md": "text "})
    assert found == []


def test_this_tree():
    assert tidy.problems(ROOT) == []
