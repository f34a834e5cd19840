"""A cluster under test: its configuration, the enginx that runs it, and what must be gone after it."""

import json
import os
import pwd
import re
import secrets
import signal
import stat
import subprocess
from pathlib import Path

from . import cgroups
from .processes import alive, ancestors, command_line, wait_for

BPF_PINS = Path("/sys/fs/bpf/enginx")


class Ended(Exception):
    """The enginx in the foreground has ended, so waiting for more is of no use."""


class Account:
    """Whose rights enginx runs with: a name, or a number that needs no name."""

    def __init__(self, name):
        self.name = name
        if name.isdigit():
            self.uid = self.gid = int(name)
        else:
            entry = pwd.getpwnam(name)
            self.uid, self.gid = entry.pw_uid, entry.pw_gid
        self.root = self.uid == 0

    def options(self):
        """For subprocess."""
        if self.root:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


class Cluster:
    """Made by the fixture `cluster`; `end` (which the fixture calls) stops it and checks that nothing
    is left: no process, no control group, no pin, no FIFO or socket."""

    def __init__(self, binary, directory, account, network):
        self.binary, self.directory = Path(binary), Path(directory)
        self.account, self.network = account, network
        self.name = "t" + secrets.token_hex(4)
        self.cgroup = "enginx-test-" + secrets.token_hex(4)
        self.state = self.directory / "state"
        self.output_path = self.directory / "output.txt"
        self.process = None  # the last one in the foreground
        self.delegated = None  # the groups (cgroups.Delegated) in which enginx is started
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
        }
        self.ended = False

    # ---- files ----

    def file(self, name, content, mode=0o644):
        """A file in the cluster's directory, which the account owns."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)
        path.chmod(mode)
        self.own(path)
        return path

    def folder(self, name):
        path = self.directory / name
        path.mkdir(parents=True, exist_ok=True)
        self.own(path)
        return path

    def own(self, path):
        while path != self.directory.parent:
            os.chown(path, self.account.uid, self.account.gid)
            path = path.parent

    def configure(self, text, name="enginx.conf"):
        return self.file(name, text)

    # ---- starting ----

    def arguments(self, *arguments):
        return [str(self.binary), "-c", self.name, "--state", str(self.state),
                "--cgroup", self.cgroup, *map(str, arguments)]

    def start(self, *arguments, **options):
        """Runs enginx in the foreground, its output in a file."""
        entering = self.delegated.entering(self.cgroup) if self.delegated else []
        account = {} if self.delegated else self.account.options()
        with open(self.output_path, "ab") as output:
            self.process = subprocess.Popen(
                entering + self.arguments(*arguments), stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, cwd=self.directory, env=self.environment, start_new_session=True,
                **account, **options)
        return self.process

    def up(self, text=None, *arguments):
        """`enginx up` in the foreground, with this configuration (or the one that is there)."""
        path = self.directory / "enginx.conf" if text is None else self.configure(text)
        return self.start("up", path, *arguments)

    def run(self, *arguments):
        """`enginx run` in the foreground."""
        return self.start("run", *arguments)

    def command(self, *arguments, check=True, timeout=15, **options):
        """A command that ends by itself; the completed process, with text output."""
        options = {**self.account.options(), **options}
        environment = options.pop("env", self.environment)
        done = subprocess.run(self.arguments(*arguments), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout, errors="replace",
                              cwd=self.directory, env=environment, **options)
        if check:
            assert done.returncode == 0, (
                f"enginx {' '.join(map(str, arguments))}: exit code {done.returncode}\n"
                f"{done.stdout}{done.stderr}")
        return done

    # ---- looking ----

    @property
    def output(self):
        """What the one in the foreground has printed, without colours."""
        try:
            text = self.output_path.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    def status(self):
        """`status --json`, or None when nobody answers."""
        done = self.command("status", "--json", check=False)
        if done.returncode != 0:
            return None
        return json.loads(done.stdout)

    def service(self, name=None):
        status = self.status()
        assert status is not None, "nobody answers `enginx status`"
        services = {service["name"]: service for service in status["services"]}
        if name is None:
            assert len(services) == 1
            return next(iter(services.values()))
        assert name in services, f"no service {name} in {list(services)}"
        return services[name]

    def instances(self, name=None):
        """Number of the instance → what status says of it."""
        return {instance["id"]: instance for instance in self.service(name)["instances"]}

    def pid(self, number, name=None):
        return self.instances(name)[number]["pid"]

    def instance_of(self, pid, name=None):
        """The number of the instance that this process belongs to."""
        pids = {instance["pid"]: number for number, instance in self.instances(name).items()}
        for ancestor in ancestors(pid):
            if ancestor in pids:
                return pids[ancestor]
        for path in cgroups.all_below(self.cgroup):
            if pid in cgroups.processes(path):
                return int(path.name.rpartition(".")[2])
        raise AssertionError(f"process {pid} belongs to no instance of {pids}")

    def enginx_processes(self):
        """enginx's own processes: those that execute the binary."""
        found = []
        for pid in self.network.processes():
            try:
                if os.readlink(f"/proc/{pid}/exe") == str(self.binary) and alive(pid):
                    found.append(pid)
            except OSError:
                pass
        return found

    def supervisor(self):
        """The pid of the supervisor: the one of enginx's processes without a role."""
        found = [pid for pid in self.enginx_processes() if "--role" not in command_line(pid)
                 and f" {self.name} " in command_line(pid)]
        assert len(found) == 1, [command_line(pid) for pid in found]
        return found[0]

    def kill_supervisor(self):
        """A crash of the one that `up` started, until it is dead. Its children, before they are somebody else, look like
        it, so it is asked who it is."""
        pid = self.status()["pid"]
        os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        wait_for(lambda: not alive(pid), 5, "the supervisor to die")

    # ---- waiting ----

    def wait(self, condition, within=10, what="a condition"):
        def check():
            if self.process is not None and self.process.poll() is not None:
                raise Ended(f"enginx ended with {self.process.returncode}:\n{self.output}")
            return condition()
        try:
            return wait_for(check, within, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n---- output of enginx:\n{self.output[-4000:]}\n"
                                 f"---- status: {self.status()}") from None

    def wait_up(self, count, name=None, within=10):
        """Until the service has exactly `count` instances, all of them up; they are returned."""
        def check():
            instances = self.instances(name)
            states = [instance["state"] for instance in instances.values()]
            assert states == ["up"] * count, f"states are {states}"
            return instances
        return self.wait(check, within, f"{count} instances up")

    def wait_state(self, state, name=None, number=1, within=10):
        def check():
            instance = self.instances(name).get(number, {"state": "gone"})
            assert instance["state"] == state, f"instance {number} is {instance}"
            return instance
        return self.wait(check, within, f"instance {number} to be {state}")

    def wait_restarted(self, number, pid, name=None, within=10):
        """Until the instance is up with another process than `pid`."""
        def check():
            instance = self.instances(name)[number]
            assert instance["state"] == "up" and instance["pid"] != pid, f"it is {instance}"
            return instance
        return self.wait(check, within, f"instance {number} to be up again")

    def wait_output(self, pattern, within=10):
        return self.wait(lambda: re.search(pattern, self.output), within,
                         f"/{pattern}/ in the output")

    def wait_exit(self, within=10):
        """Until the one in the foreground ends; its exit code."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"enginx did not end:\n{self.output[-4000:]}") from None

    # ---- the end ----

    def down(self, within=15):
        self.command("down", timeout=within)
        if self.process is not None:
            assert self.wait_exit() == 0, self.output

    def left_over(self):
        """What a cluster that is down must not leave behind."""
        found = [str(path) for path in cgroups.all_below(self.cgroup) if path.name != self.cgroup]
        pins = BPF_PINS / self.name
        if pins.exists():
            found += [str(path) for path in pins.iterdir()] or [str(pins)]
        for path in self.state.rglob("*") if self.state.exists() else []:
            mode = path.lstat().st_mode
            if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
                found.append(str(path))
        found += [f"process {pid}: {command_line(pid)}" for pid in self.members() if alive(pid)]
        return found

    def members(self):
        """The processes of this cluster: enginx's own by its name, the others by where they run."""
        found = []
        for pid in self.network.processes():
            words = command_line(pid)
            if self.name in words or str(self.directory) in words:
                found.append(pid)
        return found

    def end(self, failed=False):
        """Stops it. Raises when something is left, unless the scenario has failed already."""
        if self.ended:
            return
        self.ended = True
        problems = []
        try:
            answers = self.status() is not None
        except (subprocess.TimeoutExpired, ValueError):
            answers = False
        try:
            if answers:
                self.down()
            elif self.process is not None and self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                self.wait_exit(5)
            wait_for(lambda: not self.left_over(), 3, "nothing to be left over")
        except (AssertionError, subprocess.TimeoutExpired) as error:
            problems.append(str(error))
        problems += self.left_over()
        self.clear()
        if problems and not failed:
            raise AssertionError("not clean after the end:\n" + "\n".join(problems))

    def clear(self):
        """Removes by force what may be left."""
        for pid in self.members():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait(5)
        cgroups.clear(self.cgroup)
        pins = BPF_PINS / self.name
        for path in sorted(pins.rglob("*"), reverse=True) if pins.exists() else []:
            path.rmdir() if path.is_dir() else path.unlink()
        if pins.exists():
            pins.rmdir()
