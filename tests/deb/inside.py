"""Inside the root that deb_test.py has made."""

import glob
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

GIVEN = Path("/run/given")
sys.path.insert(0, str(GIVEN))
from harness import clients  # noqa: E402

UNIT = Path("/usr/lib/systemd/system/enginx@.service")
NAME = "debtest"


def sh(*arguments, code=0):
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    print("+", *arguments, "\n" + done.stdout + done.stderr, flush=True)
    assert code is None or done.returncode == code, (arguments, done.returncode)
    return done.stdout


def of_unit(key):
    """The command of the unit, as systemd would run it."""
    text = re.search(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)[1]
    return shlex.split(text.replace("%i", NAME).replace("%n", f"enginx@{NAME}.service").replace("$$", "$"))


def wait(condition, what):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def start():
    """As systemd does with Type=notify: waits for READY=1."""
    path = "/run/notify"
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(20)
        process = subprocess.Popen(of_unit("ExecStart"), stdin=subprocess.DEVNULL,
                                   env={**os.environ, "NOTIFY_SOCKET": path})
        while b"READY=1" not in manager.recv(4096):
            pass
    return process


def status():
    return json.loads(sh("enginx", "-c", NAME, "status", "--json"))


def main():
    old, new = sorted(GIVEN.glob("*.deb"))
    sh("dpkg", "-i", old)
    assert sh("enginx", "version").startswith("enginx ")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "enginx@x.service"], capture_output=True, text=True)
    assert done.returncode == 0 and "enginx@" not in done.stdout + done.stderr, done
    Path(f"/etc/enginx/{NAME}.conf").write_text(
        f"service web {{ run /usr/bin/python3 {GIVEN}/programs/web.py; env WHO=$instance; port 8000; instances 2; }}\n"
        "listen 8080 http { route / -> web; }\n")
    process = start()
    before = status()
    with clients.Load(8000, 2) as direct, clients.Load(8080, 2) as gateway, clients.Held(8080, 5) as held:
        held.spread()
        gateway.wait_more(20)
        sh("dpkg", "-i", new)  # postinst upgrades what runs
        gateway.wait_more(20)
        direct.wait_more(20)
        assert sum(held.spread().values()) == 5, "a connection was cut"
    for load in (direct, gateway):
        assert load.refused == 0 and not load.failed, load.failed[:3]
    after = status()
    assert after["pid"] == before["pid"] == process.pid and after["upgrade"]["outcome"] == "done", after["upgrade"]
    assert os.readlink(f"/proc/{process.pid}/exe") == "/usr/bin/enginx"
    print(f"{direct.done + gateway.done} requests over the upgrade")

    sh(*of_unit("ExecReload"))
    sh(*of_unit("ExecStop"))
    assert process.wait(20) == 0
    process = start()
    sh("dpkg", "-r", "enginx")  # prerm stops what runs
    assert process.wait(20) == 0
    wait(lambda: clients.refused(8080), "the gateway to end")
    assert not Path("/usr/bin/enginx").exists() and not UNIT.exists()
    assert Path(f"/etc/enginx/{NAME}.conf").exists() and Path("/var/log/enginx").exists()
    assert Path("/var/lib/enginx").exists()
    sh("dpkg", "-P", "enginx")
    assert not Path("/var/log/enginx").exists() and not Path("/var/lib/enginx").exists()
    assert Path(f"/etc/enginx/{NAME}.conf").exists(), "a purge has taken the administrator's file"

    sh("dpkg", "-i", old)
    Path(f"/etc/enginx/{NAME}.conf").unlink()
    sh("dpkg", "-P", "enginx")
    for left in ("/etc/enginx", "/var/log/enginx", "/run/enginx", "/usr/share/doc/enginx"):
        assert not Path(left).exists(), left
    assert not glob.glob("/usr/share/man/*/enginx*") and sh("dpkg", "-l", "enginx", code=None).count("\nii") == 0
    print("well")


main()
