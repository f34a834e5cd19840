"""The Debian package, in a root of its own (this machine's files, with a layer above that takes what is written) and
namespaces of its own: install, serve as the unit would, upgrade with connections open, remove, purge.

Not part of `make test`, since it builds the program anew: `make deb-test`."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSIDE = Path(__file__).with_name("inside.py")
SCRIPT = r"""
set -e
top=$1; shift
mount --make-rprivate /
mount -t tmpfs tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root" "$top/given"
cp -r "$@" "$top/given"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" "$top/root"
mount -t proc proc "$top/root/proc"
mount --rbind /sys "$top/root/sys"
mount --rbind /dev "$top/root/dev"
for folder in run tmp; do mount -t tmpfs tmpfs "$top/root/$folder"; done
mkdir "$top/root/run/given"
mount --bind "$top/given" "$top/root/run/given"
ip link set lo up
exec chroot "$top/root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 /run/given/inside.py
"""


def deb(*arguments):
    done = subprocess.run([ROOT / "tools/deb", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """Two versions of it."""
    folder = tmp_path_factory.mktemp("packages")
    return [deb("1.0.0", folder), deb("1.0.1", folder)]


def test_it_has_what_it_should(packages):
    listing = subprocess.run(["dpkg-deb", "-c", packages[0]], capture_output=True, text=True, check=True).stdout
    for name in ("usr/bin/enginx", "etc/enginx/", "usr/lib/systemd/system/enginx@.service",
                 "usr/share/man/man1/enginx.1.gz", "usr/share/man/man5/enginx.conf.5.gz",
                 "usr/share/bash-completion/completions/enginx", "usr/share/zsh/vendor-completions/_enginx",
                 "usr/share/fish/vendor_completions.d/enginx.fish", "usr/share/doc/enginx/copyright"):
        assert f" ./{name}\n" in listing, name
    assert all(line.split()[1] == "root/root" for line in listing.splitlines())
    fields = subprocess.run(["dpkg-deb", "-I", packages[0]], capture_output=True, text=True, check=True).stdout
    assert "Version: 1.0.0" in fields and "libssl3 (" in fields and "@" not in fields.split("Depends")[1].split("\n")[0]


def test_lintian_finds_nothing_wrong(packages):
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", packages[0]], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout.strip(), done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="a root of one's own needs root")
def test_install_upgrade_remove_purge(packages):
    with tempfile.TemporaryDirectory() as top:
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "sh", "-c", SCRIPT, "sh", top,
                               *packages, INSIDE, ROOT / "tests/scenario/harness",
                               ROOT / "tests/scenario/programs"],
                              capture_output=True, text=True, timeout=600)
    print(done.stdout, done.stderr)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "well"
