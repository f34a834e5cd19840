"""What holds of the package under systemd. Runs as a unit of the machine that tools/vm-systemd boots; TAP on the serial
line. The parts follow each other, as a package's life does; what does not hold is said with the journal's last lines."""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, "/given")
from harness import clients  # noqa: E402

UNIT = "enginx@demo"
FILE = Path("/etc/enginx/demo.conf")
GROUPS = Path("/sys/fs/cgroup/enginx/demo")
WEB = "/usr/bin/python3 /given/programs/web.py"
TEXT = f"""
service web {{ run {WEB}; env WHO=$instance START_DELAY=1; port 8000; instances 2; quota memory=96M cpu=50% tasks=64; }}
listen 8080 http {{ route / -> web; }}
"""
OLD, NEW = sorted(Path("/given").glob("*.deb"))


def sh(*arguments, code=0):
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert code is None or done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout


def show(key, unit=UNIT):
    return sh("systemctl", "show", "-P", key, unit).strip()


def journal(*arguments, unit=UNIT):
    sh("journalctl", "--sync")
    return sh("journalctl", "--no-pager", "-o", "cat", "-u", unit, *arguments, code=None)


def status(name="demo"):
    return json.loads(sh("enginx", "-c", name, "status", "--json"))


def instances():
    service, = (one for one in status()["services"] if one["name"] == "web")
    return {f"web.{one['id']}": one for one in service["instances"]}


def pids():
    return {name: one["pid"] for name, one in instances().items()}


def wait(condition, what, within=60):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def up(count=2):
    return [one["state"] for one in instances().values()] == ["up"] * count


clients.Load.PAUSE = 0.02  # an emulated processor has better to do


class Loads:
    """Closed loops on both paths; after it, nothing may have failed."""

    def __enter__(self):
        self.loads = [clients.Load(8080, 2, timeout=60), clients.Load(8000, 1, timeout=60)]
        for load in self.loads:
            load.__enter__()
        self.more()
        return self

    def more(self):
        for load in self.loads:
            load.wait_more(10, within=60)

    def __exit__(self, kind, *_):
        for load in self.loads:
            load.__exit__(kind, *_)
        if kind is None:
            for load in self.loads:
                assert load.refused == 0 and not load.failed, (load.address, load.refused, load.failed[:3])
            print(f"# figure {sum(load.done for load in self.loads)} requests, none failed, the slowest took "
                  f"{max(load.slowest for load in self.loads):.2f} s")


# ---- the parts --------------------------------------------------------------------------------------------------------


def installs():
    sh("dpkg", "-i", str(OLD))
    assert sh("systemctl", "is-enabled", UNIT, code=1).strip() == "disabled"
    sh("systemd-analyze", "verify", "--man=no", f"{UNIT}.service")


def start_waits_until_it_serves():
    FILE.write_text(TEXT)
    sh("systemctl", "enable", "--now", UNIT)
    assert clients.who(8080) in "12"  # at the first try
    assert show("ActiveState") == "active" and show("SubState") == "running"
    assert "cluster demo serves" in show("StatusText")
    assert int(show("MainPID")) == status()["pid"]
    assert Path("/etc/systemd/system/multi-user.target.wants", f"{UNIT}.service").is_symlink()


def a_file_that_is_wrong_fails_and_says_why():
    Path("/etc/enginx/broken.conf").write_text("service web { run sleep 9; nonsense 3; }\n")
    sh("systemctl", "start", "enginx@broken", code=1)
    wait(lambda: show("ActiveState", "enginx@broken") == "failed", "the unit to fail")
    assert show("NRestarts", "enginx@broken") == "0", "it was tried again, though the file is the same"
    assert "broken.conf:1" in journal(unit="enginx@broken") and "nonsense" in journal(unit="enginx@broken")
    sh("systemctl", "reset-failed", "enginx@broken")
    sh("systemctl", "start", "enginx@nofile", code=1)


def reload_takes_what_is_right_and_refuses_what_is_wrong():
    with Loads():
        FILE.write_text(TEXT.replace("instances 2", "instances 3"))
        sh("systemctl", "reload", UNIT)
        wait(lambda: up(3), "three instances")
        FILE.write_text(TEXT + "service { nonsense")
        sh("systemctl", "reload", UNIT, code=1)
        assert show("ActiveState") == "active" and up(3)
        assert "demo.conf:" in journal()
        FILE.write_text(TEXT)
        sh("systemctl", "reload", UNIT)
        wait(up, "two instances")


def restart_loses_nothing():
    before, gateway, main = pids(), status()["gateway_pid"], show("MainPID")
    with Loads() as loads, clients.Held(8000, 3) as held:
        held.spread()
        sh("systemctl", "restart", UNIT)
        loads.more()
        assert sum(held.spread().values()) == 3, "a connection was cut"
    assert show("MainPID") != main and status()["gateway_pid"] != gateway
    assert pids() == before and show("ActiveState") == "active"


def a_restart_takes_a_changed_file():
    before = pids()
    with Loads() as loads:
        FILE.write_text(TEXT.replace("WHO=$instance", "WHO=$instance NEW=1"))
        sh("systemctl", "restart", UNIT)
        wait(lambda: up() and not set(before.values()) & set(pids().values()), "the service to be rolled")
        loads.more()


def a_crash_is_adopted():
    before, main = pids(), show("MainPID")
    with Loads() as loads:
        sh("systemctl", "kill", "-s", "KILL", "--kill-who=main", UNIT)
        wait(lambda: show("ActiveState") == "active" and show("MainPID") not in ("0", main), "another supervisor")
        loads.more()
    assert pids() == before and show("NRestarts") == "1"


def a_supervisor_that_hangs_is_replaced():
    drop = Path("/etc/systemd/system/enginx@demo.service.d/watchdog.conf")
    drop.parent.mkdir()
    drop.write_text("[Service]\nWatchdogSec=4\n")
    sh("systemctl", "daemon-reload")
    sh("systemctl", "restart", UNIT)  # with the new period
    before, main = pids(), show("MainPID")
    time.sleep(6)
    assert show("MainPID") == main, "one that does not hang was replaced: " + journal("-n", "20")
    with Loads() as loads:
        os.kill(int(main), signal.SIGSTOP)
        wait(lambda: show("ActiveState") == "active" and show("MainPID") not in ("0", main), "another supervisor", 90)
        loads.more()
    assert pids() == before
    drop.unlink()
    drop.parent.rmdir()
    sh("systemctl", "daemon-reload")


def the_journal_has_priorities():
    sh("kill", "-KILL", str(pids()["web.1"]))
    wait(lambda: up(), "web.1 to be back")
    warned = journal("-p", "warning")
    assert not [line for line in warned.splitlines() if "instance-up" in line], warned
    assert "instance-up" in journal("-p", "info")
    entry = json.loads(sh("journalctl", "-o", "json", "-n", "1", "-u", UNIT, "-p", "info"))
    assert entry["SYSLOG_IDENTIFIER"] == "enginx-demo" and not entry["MESSAGE"].startswith(("<", "20"))
    assert "listens" in sh("enginx", "-c", "demo", "logs", "web")
    assert list(Path("/var/log/enginx/demo").glob("*web*"))


def quotas_hold_whatever_systemd_does():
    group = next(GROUPS.rglob("web.1*"))

    def enforced():
        limits = {}
        for file in ("memory.max", "cpu.max", "pids.max"):
            found = [path / file for path in (group, *group.rglob("*")) if (path / file).exists()]
            limits[file] = next((path.read_text().strip() for path in found if "max" != path.read_text().split()[0]), "")
        return limits
    assert enforced() == {"memory.max": str(96 << 20), "cpu.max": "50000 100000", "pids.max": "64"}, enforced()
    # It rules the controllers of the root group: other units come and go.
    for _ in range(2):
        sh("systemd-run", "--wait", "-p", "MemoryMax=64M", "-p", "CPUQuota=50%", "-p", "TasksMax=10", "true")
        sh("systemctl", "daemon-reload")
    assert enforced()["memory.max"] == str(96 << 20) and enforced()["cpu.max"] == "50000 100000"
    victim = pids()["web.1"]
    home = instances()["web.1"]["address"]
    clients.answer(8000, host=home, path="/eat?200", timeout=30)
    wait(lambda: pids().get("web.1") not in (victim, 0, None) and up(), "web.1 to be back")
    said = json.dumps(instances()["web.1"]) + journal("-p", "warning")
    assert "out of memory" in said and "MiB" in said, said


def stop_ends_all():
    running = [*pids().values(), status()["gateway_pid"]]
    sh("systemctl", "stop", UNIT)
    assert show("ActiveState") == "inactive" and show("Result") == "success"
    assert clients.refused(8080) and clients.refused(8000)
    assert not [pid for pid in running if Path(f"/proc/{pid}").exists()]
    assert not Path("/run/enginx/demo").exists() and not GROUPS.exists()
    assert not sh("pgrep", "-f", "enginx -c demo", code=None)


def as_another_user_below_the_unit():
    sh("useradd", "--system", "web")
    drop = Path("/etc/systemd/system/enginx@demo.service.d/user.conf")
    drop.parent.mkdir()
    drop.write_text("[Service]\nUser=web\nRuntimeDirectory=enginx-%i\nRuntimeDirectoryPreserve=restart\n"
                    "StateDirectory=enginx-%i\n"
                    "Environment=XDG_RUNTIME_DIR=/run/enginx-%i XDG_STATE_HOME=/var/lib/enginx-%i\n")
    sh("systemctl", "daemon-reload")
    FILE.write_text(TEXT)
    sh("systemctl", "start", UNIT)
    assert clients.who(8080) in "12"
    group = Path("/sys/fs/cgroup" + show("ControlGroup"))
    limits = [path.read_text().strip() for path in group.rglob("memory.max")]
    assert str(96 << 20) in limits, (limits, journal("-n", "20"))
    with clients.Load(8080, 2, timeout=60) as load:
        load.wait_more(10, within=60)
        FILE.write_text(TEXT.replace("instances 2", "instances 3"))
        sh("systemctl", "reload", UNIT)
        wait(lambda: len(sh("pgrep", "-u", "web", "-f", "web.py", code=None).split()) == 3, "three instances")
        load.wait_more(10, within=60)
    assert load.refused == 0 and not load.failed, (load.refused, load.failed[:3])
    sh("systemctl", "stop", UNIT)
    assert clients.refused(8080) and not sh("pgrep", "-u", "web", code=None)
    drop.unlink()
    drop.parent.rmdir()
    sh("systemctl", "daemon-reload")


def a_newer_package_takes_over():
    FILE.write_text(TEXT)
    sh("systemctl", "start", UNIT)
    before, main = pids(), show("MainPID")
    with Loads() as loads, clients.Held(8080, 3) as held:
        held.spread()
        sh("dpkg", "-i", str(NEW))
        loads.more()
        assert sum(held.spread().values()) == 3, "a connection was cut"
    assert show("MainPID") == main and pids() == before and show("ActiveState") == "active"
    assert status()["upgrade"]["outcome"] == "done" and os.readlink(f"/proc/{main}/exe") == "/usr/bin/enginx"


def removed_and_purged_it_leaves_nothing():
    sh("dpkg", "-r", "enginx")
    assert clients.refused(8080) and not Path("/usr/bin/enginx").exists()
    assert FILE.exists() and Path("/var/log/enginx/demo").exists()
    FILE.unlink()
    Path("/etc/enginx/broken.conf").unlink(missing_ok=True)
    sh("dpkg", "-P", "enginx")
    left = [path for folder in ("/etc", "/usr", "/var", "/run", "/sys/fs/cgroup", "/sys/fs/bpf")
            for path in sh("find", folder, "-xdev", "-iname", "*enginx*", code=None).splitlines()]
    ours = ("/etc/systemd/system/enginx-test.service", "/etc/systemd/system/multi-user.target.wants/enginx-test.service")
    left = [path for path in left if path not in ours and "enginx-test" not in path and "/var/lib/enginx-demo" not in path
            and not path.endswith("/system-enginx.slice")]  # systemd's, for all instances of a template
    assert not left, left
    assert not sh("systemctl", "list-units", "--all", "--no-legend", "enginx@*"), "units are left"


def what_is_up_at_shutdown_ends_in_order():
    """What it writes comes after this script has ended; tools/vm-systemd counts it."""
    sh("dpkg", "-i", str(NEW))
    FILE.write_text("""
service base { run /usr/bin/python3 /given/last_word.py base; port none; }
service top { run /usr/bin/python3 /given/last_word.py top; uses base; port none; }
""")
    sh("systemctl", "stop", UNIT)
    sh("systemctl", "start", UNIT)


PARTS = [installs, start_waits_until_it_serves, a_file_that_is_wrong_fails_and_says_why,
         reload_takes_what_is_right_and_refuses_what_is_wrong, restart_loses_nothing, a_restart_takes_a_changed_file,
         a_crash_is_adopted, a_supervisor_that_hangs_is_replaced, the_journal_has_priorities,
         quotas_hold_whatever_systemd_does, stop_ends_all, as_another_user_below_the_unit, a_newer_package_takes_over,
         removed_and_purged_it_leaves_nothing, what_is_up_at_shutdown_ends_in_order]
FIRST = PARTS[:2]  # without these nothing else makes sense


def main():
    chosen = Path("/given/chosen").read_text().split()
    print("# kernel", os.uname().release, sh("systemctl", "--version").splitlines()[0])
    for name in set(chosen) - {part.__name__ for part in PARTS}:
        print(f"not ok 0 - there is no part {name}")
    for number, part in enumerate(PARTS, 1):
        if chosen and part.__name__ not in chosen and part not in FIRST:
            continue
        print(f"# suite {part.__name__}")
        started = time.monotonic()
        try:
            part()
            print(f"ok {number} - {part.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
        except Exception:  # noqa: whatever it is, it is told
            print(f"not ok {number} - {part.__name__}")
            for line in [*traceback.format_exc().splitlines(), *journal("-n", "15").splitlines()]:
                print("# " + line[:1000])
            sys.stdout.flush()
    print("# all suites ran", flush=True)
    subprocess.run(["systemctl", "reboot"])


main()
