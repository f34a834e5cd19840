"""Completion in real shells: commands, options, directives, and the services of a cluster that runs."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "tools/completion"

BASH = r"""
source /usr/share/bash-completion/bash_completion
source "$1"
COMP_LINE=$2 COMP_POINT=${#2} COMP_CWORD=-1 COMP_WORDS=()
for word in "${@:3}"; do COMP_WORDS+=("$word"); COMP_CWORD=$((COMP_CWORD + 1)); done
compopt() { :; }  # bash knows it only while somebody types
_enginx && printf '%s\n' "${COMPREPLY[@]}"
"""

# An interactive zsh in a terminal of its own, which lists what Tab would offer.
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1= ; stty -echo cols 400 rows 200; autoload -Uz compinit; fpath=('$1' $fpath); compinit -u -D'
zpty -w shell 'zstyle ":completion:*" list-separator "#"; unsetopt ZLE_RPROMPT_INDENT; LISTMAX=10000; echo'
zpty -w shell 'offer() { zle list-choices; zle -R; print -n "all-"told }; zle -N offer; bindkey "^X" offer; echo rea"dy"'
zpty -r -m shell line '*ready*'
zpty -w -n shell "$2"$'\x18'
zpty -r -m shell line '*all-told*'
print -rn -- $line
"""


def bash(line, environment):
    words = [word for word in re.split(r"(=|\s+)", line) if word and not word.isspace()]
    if line[-1].isspace():
        words.append("")
    done = subprocess.run(["bash", "-c", BASH, "bash", SCRIPTS / "enginx.bash", line, *words],
                          capture_output=True, text=True, env=environment, timeout=20)
    return done.stdout.split()


def fish(line, environment):
    script = f"source {SCRIPTS}/enginx.fish; complete -C {shlex.quote(line)}"
    done = subprocess.run(["fish", "--no-config", "-c", script],
                          capture_output=True, text=True, env=environment, timeout=20)
    return [one.split("\t")[0] for one in done.stdout.splitlines()]


def zsh(line, environment):
    done = subprocess.run(["zsh", "-f", "-c", ZSH, "zsh", SCRIPTS, line],
                          capture_output=True, text=True, env={**environment, "TERM": "vt100"}, timeout=30)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\r\0]|all-told", " ", done.stdout)
    return [word for word in re.split(r"[\s#]+", plain) if word]


@pytest.fixture(params=[bash, zsh, fish])
def complete(request, binary, cluster):
    environment = {"PATH": f"{Path(binary).parent}:{os.environ['PATH']}", "HOME": str(cluster.directory),
                   "LANG": "C.UTF-8"}
    return lambda line: request.param("enginx " + line, environment)


def test_commands_options_and_directives(complete):
    assert {"status", "scale"} <= set(complete("s"))
    assert "upgrade" not in complete("s")
    assert {"--dry-run", "--wait", "--cluster"} <= set(complete("reload --"))
    assert "instances" in complete("help inst")
    assert "surge=" in complete("roll web su")
    assert {"cpu", "p95"} <= set(complete("top --sort "))
    assert {"text", "dot", "svg"} <= set(complete("graph --format "))


def test_services_of_the_cluster_that_runs(complete, cluster, programs):
    cluster.up(f"""service web {{ run {programs.python('web')}; port 8000; instances 2; }}
                   job mail {{ run /bin/true; at 03:00; }}
                   job migrate {{ run /bin/true; }}""")
    cluster.wait_up(2)
    here = f"-c {cluster.name} --state {cluster.state} "
    assert {"web", "web.1", "web.2"} <= set(complete(here + "logs w"))
    assert "web=" in complete(here + "scale w")
    assert "web.2" in complete(here + "drain web.")
    assert "run" in complete(here + "job ") and "mail" not in complete(here + "job ")
    offered = complete(here + "job run m")
    assert {"mail", "migrate"} <= set(offered) and "web" not in offered
    assert {"mail", "migrate"} <= set(complete(here + "logs m"))


def test_files_and_directories(complete, cluster):
    cluster.file("shop.conf", "")
    assert any(word.endswith("shop.conf") for word in complete(f"check {cluster.directory}/sho"))
