"""The same torture for what others use: nginx and HAProxy, with their programs under supervisord. Run
by `make chaos-peers`; PEERS="nginx haproxy", SEED=1, MINUTES=2. Reports, and judges nobody.

systemd does not run in a container, so supervisord keeps nginx, too, through keep-nginx, which does what
a unit with PIDFile= does: when the master has died, what it left is killed before another is started.
"""

import contextlib
import http.client
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "scenario"), str(ROOT / "tests" / "chaos")]
from account import Account  # noqa: the folders are named above
from actions import CROWD, DESCRIPTORS, LEAPS, Actions  # noqa
from flows import HTTP1, Flow  # noqa
from harness import processes  # noqa
from harness.network import Network  # noqa
from harness.programs import Programs  # noqa

SERVICES = {"web": (3001, 3002, 3003), "one": (3101,), "echo": (4001, 4002, 4003)}
PORTS = {"web/http": 8080, "one/http": 8180, "web/relay": 9000, "one/relay": 9100, "echo/relay": 4500}
H2_PORTS = {"web/http": 8081, "one/http": 8181}
STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"

SUPERVISORD = """
[supervisord]
nodaemon=true
logfile={place}/supervisord.log
pidfile={place}/supervisord.pid
[unix_http_server]
file={place}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{place}/supervisor.sock
"""
PROGRAM = """
[program:{name}]
command={command}
environment={environment}
autorestart=true
startsecs=0
startretries=1000000
stopwaitsecs=20
stdout_logfile={place}/{name}.log
redirect_stderr=true
"""
KEEP_NGINX = """#!/bin/sh
# As systemd keeps a forking unit with PIDFile= and Restart=always: the main process is the file's, which a
# binary upgrade changes; when it is gone, what is left of the group is killed and all is started anew.
trap 'kill -QUIT $(cat {place}/nginx.pid); exit 0' TERM
lives() {{
    pid=$(cat {place}/nginx.pid 2>/dev/null || cat {place}/nginx.pid.oldbin 2>/dev/null)
    kill -0 "$pid" 2>/dev/null
}}
while {nginx} -c {place}/nginx.conf; do
    while sleep 0.1; lives || {{ sleep 0.1; lives; }}; do :; done  # twice: the file may be about to be written
    while pkill -KILL --ns $$ --nslist net -f '^nginx: '; do sleep 0.05; done
done
exit 1
"""
NGINX = """
pid {place}/nginx.pid; error_log {place}/error.log warn; worker_processes 2; user root;
load_module {module};
events {{ worker_connections {connections}; }}
http {{
  access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/f;
  uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
  proxy_next_upstream error timeout; proxy_next_upstream_tries 5; proxy_next_upstream_timeout 10s;
  proxy_connect_timeout 2s; proxy_buffering on; add_header X-Revision {revision};
  upstream web {{ zone web 64k; least_conn; {web} keepalive 32; keepalive_timeout 1s; }}
  upstream one {{ zone one 64k; {one} keepalive 32; keepalive_timeout 1s; }}
  server {{ listen 8080; listen 8081 http2; location / {{ proxy_pass http://web; }} }}
  server {{ listen 8180; listen 8181 http2; location / {{ proxy_pass http://one; }} }}
}}
stream {{
  proxy_connect_timeout 2s;
  upstream web {{ zone web_stream 64k; least_conn; {web} }}
  upstream one {{ zone one_stream 64k; {one} }}
  upstream echo {{ zone echo 64k; hash $remote_addr$remote_port consistent; {echo} }}
  server {{ listen 9000; proxy_pass web; proxy_next_upstream on; }}
  server {{ listen 9100; proxy_pass one; proxy_next_upstream on; }}
  server {{ listen 4500 udp; proxy_pass echo; proxy_timeout 2s; }}
}}
"""
HAPROXY = """
global
  nbthread 2
  stats socket {place}/haproxy.sock mode 600 level admin expose-fd listeners
  hard-stop-after 60s
defaults
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout queue 10s
  timeout tunnel 60s
  retries 10
  option redispatch 1
  default-server check inter 500ms fastinter 100ms downinter 100ms fall 2 rise 1 pool-purge-delay 1s
  default-server observe layer4 on-error mark-down error-limit 3
backend web
  mode http
  balance leastconn
  option httpchk GET /healthz
  retry-on conn-failure empty-response
  http-request disable-l7-retry if METH_POST
  http-response set-header X-Revision {revision}
{web}
backend one
  mode http
  option httpchk GET /healthz
  retry-on conn-failure empty-response
  http-request disable-l7-retry if METH_POST
{one}
backend web_tcp
  balance leastconn
{web}
backend one_tcp
{one}
frontend web_http
  mode http
  bind :8080
  bind :8081 proto h2
  default_backend web
frontend one_http
  mode http
  bind :8180
  bind :8181 proto h2
  default_backend one
frontend web_relay
  bind :9000
  default_backend web_tcp
frontend one_relay
  bind :9100
  default_backend one_tcp
"""


def answers_datagrams(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        try:
            client.connect(("127.0.0.1", port))
            client.send(b"well?")
            return client.recv(100).endswith(b"well?")
        except OSError:
            return False


class Peer:
    """A proxy and the programs behind it, all kept by supervisord."""

    paths = PORTS

    def __init__(self, place, programs, network):
        self.place, self.programs, self.network = place, programs, network
        self.revision = 0

    def instances(self):
        """Name of each of supervisord's programs → its service and port."""
        return {f"{service}_{number}": (service, port) for service, ports in SERVICES.items()
                if f"{service}/relay" in self.paths for number, port in enumerate(ports, 1)}

    def start(self):
        text = SUPERVISORD.format(place=self.place)
        for name, (service, port) in self.instances().items():
            command = (self.programs.built("echo_udp") if service == "echo"
                       else f"node {self.programs.path('rolled.js')}")
            environment = f'PORT="{port}",WHO="{name}",NODE_PATH="/usr/share/nodejs",SECONDS="0.5"'
            text += PROGRAM.format(place=self.place, name=name, command=command, environment=environment)
        text += PROGRAM.format(place=self.place, name="proxy", command=self.command(), environment="")
        (self.place / "supervisord.conf").write_text(text)
        self.configure()
        library, self.leap = Actions.build_leap(self.place)
        self.supervisor = subprocess.Popen(
            ["supervisord", "-c", self.place / "supervisord.conf"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "LD_PRELOAD": str(library), "CHAOS_LEAP": str(self.leap)},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)))

    def stop(self):
        self.supervisor.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.supervisor.wait(30)
        for pid in self.network.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.supervisor.wait(5)

    def control(self, *arguments):
        return subprocess.run(["supervisorctl", "-c", self.place / "supervisord.conf", *arguments],
                              capture_output=True, text=True, timeout=60)

    def pid(self, name):
        """0 while it does not run."""
        said = self.control("pid", name).stdout.strip()
        return int(said) if said.isdigit() else 0

    def healthy(self, name):
        service, port = self.instances()[name]
        if service == "echo":
            return answers_datagrams(port)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait_healthy(self, name):
        processes.wait_for(lambda: self.healthy(name), 30, f"{name} to be healthy")

    def restart_instance(self, name):
        self.control("restart", name)
        self.wait_healthy(name)

    def named(self, start):
        """Processes of the namespace whose command line begins so."""
        return [pid for pid in self.network.processes() if processes.command_line(pid).startswith(start)]


class Nginx(Peer):
    name = "nginx"

    def command(self):
        path = self.place / "keep-nginx"
        path.write_text(KEEP_NGINX.format(place=self.place, nginx=shutil.which("nginx")))  # an upgrade needs all of it
        path.chmod(0o755)
        return path

    def configure(self, more=""):
        servers = {service: " ".join(f"server 127.0.0.1:{port} max_fails=1 fail_timeout=1s;" for port in ports)
                   for service, ports in SERVICES.items()}
        servers["one"] = f"server 127.0.0.1:{SERVICES['one'][0]} max_fails=0;"
        (self.place / "nginx.conf").write_text(
            NGINX.format(place=self.place, module=STREAM_MODULE, revision=self.revision,
                         connections=DESCRIPTORS // 2, **servers) + more)

    def accepts(self):
        return subprocess.run(["nginx", "-t", "-c", self.place / "nginx.conf"], capture_output=True).returncode == 0

    def masters(self):
        return self.named("nginx: master")

    def workers(self):
        return self.named("nginx: worker process") and [
            pid for pid in self.named("nginx: worker process")
            if "shutting down" not in processes.command_line(pid)]

    def reload(self):
        self.signal(signal.SIGHUP)

    def signal(self, number):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.place / "nginx.pid").read_text()), number)

    def upgrade(self):
        """As nginx's manual has it: USR2, wait for the new master, QUIT the old one. That lives as long as its
        tunnels, and until then there is no other upgrade."""
        if (self.place / "nginx.pid.oldbin").exists():
            return "the one before is not over"
        old = int((self.place / "nginx.pid").read_text())
        os.kill(old, signal.SIGUSR2)
        processes.wait_for((self.place / "nginx.pid.oldbin").exists, 10, "the new master")
        processes.wait_for(lambda: (self.place / "nginx.pid").exists() and len(self.workers()) >= 4, 10,
                           "the new workers")
        os.kill(old, signal.SIGQUIT)
        return ""


class Haproxy(Peer):
    name = "haproxy"
    paths = {path: port for path, port in PORTS.items() if path != "echo/relay"}  # 2.6 has no UDP

    def command(self):
        return f"haproxy -W -f {self.place}/haproxy.cfg -p {self.place}/haproxy.pid"

    def configure(self, more=""):
        # A single one is not checked: while it is away the retries wait a second each, instead of 503 at once.
        servers = {service: "\n".join(f"  server {service}_{number} 127.0.0.1:{port}" +
                                      (" no-check" if len(ports) == 1 else "")
                                      for number, port in enumerate(ports, 1))
                   for service, ports in SERVICES.items()}
        (self.place / "haproxy.cfg").write_text(
            HAPROXY.format(place=self.place, revision=self.revision, **servers) + more)

    def accepts(self):
        return subprocess.run(["haproxy", "-c", "-f", self.place / "haproxy.cfg"],
                              capture_output=True).returncode == 0

    def masters(self):
        return [pid for pid in self.named("haproxy") if processes.parent(pid) == self.supervisor.pid]

    def workers(self):
        return [pid for pid in self.named("haproxy") if processes.parent(pid) in self.masters()]

    def reload(self):
        for pid in self.masters():
            os.kill(pid, signal.SIGUSR2)

    def upgrade(self):
        """The master executes itself anew at each reload: the binary on disk."""
        self.reload()

    def admin(self, line):
        subprocess.run(["socat", "-", f"unix-connect:{self.place}/haproxy.sock"], input=line + "\n", text=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10)

    def restart_instance(self, name):
        """Drained first, and taken back when it is healthy."""
        service = self.instances()[name][0]
        drains = len(SERVICES[service]) > 1  # of a single one nothing could be drained
        for backend in (service, service + "_tcp") if drains else ():
            self.admin(f"set server {backend}/{name} state drain")
        super().restart_instance(name)
        for backend in (service, service + "_tcp") if drains else ():
            self.admin(f"set server {backend}/{name} state ready")


class Acts:
    def __init__(self, peer, account, dice):
        self.peer, self.account, self.dice = peer, account, dice
        self.all = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")]

    def name(self):
        return self.dice.choice(sorted(self.peer.instances()))

    def settle(self):
        for name in self.peer.instances():
            self.peer.wait_healthy(name)
        processes.wait_for(lambda: self.peer.masters() and self.peer.workers(), 30, "the proxy")

    def excuse_of(self, name, action):
        service = self.peer.instances()[name][0]
        return self.account.excuse(action, [f"{service}/{path}" for path in ("relay", "http")])

    def do_kill_instance(self):
        name = self.name()
        pid = self.peer.pid(name)
        if pid:
            with self.excuse_of(name, "kill_instance"), contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.peer.wait_healthy(name)  # what fails until then is no other action's
        return name

    def stand_still(self, pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.dice.uniform(0.1, 1.5))
            os.kill(pid, signal.SIGCONT)

    def do_stop_instance(self):
        name = self.name()
        pid = self.peer.pid(name)
        if pid:
            self.stand_still(pid)
        return name

    def do_stop_proxy(self):
        pids = self.peer.workers() + self.peer.masters()
        if pids:
            self.stand_still(self.dice.choice(pids))

    def killed(self, action, pids):
        if not pids:
            return "nobody"
        with self.account.excuse(action, self.peer.paths):
            victim = self.dice.choice(pids)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            processes.wait_for(lambda: not processes.alive(victim), 5, "it to die")
            processes.wait_for(lambda: self.peer.masters() and self.peer.workers(), 30, "another")
        return ""

    def do_kill_worker(self):
        return self.killed("kill_worker", self.peer.workers())

    def do_kill_master(self):
        return self.killed("kill_master", self.peer.masters())

    def do_crowd(self):
        """Clients who never end what they say, as many as for enginx, by as many descriptors."""
        with contextlib.ExitStack() as held:
            for _ in range(CROWD):
                client = held.enter_context(socket.socket())
                client.settimeout(0.1)  # for more, the kernel has no room
                with contextlib.suppress(OSError):
                    client.connect(("127.0.0.1", PORTS["web/http"]))
                    client.sendall(b"GET / HTTP/1.1\r\nHost: sl")
            time.sleep(self.dice.uniform(0.2, 1))

    def do_leap(self):
        seconds = self.dice.choice(LEAPS)
        with open(self.peer.leap, "r+b") as file:
            file.write(struct.pack("=q", seconds))
        time.sleep(0.5)
        return f"{seconds:+} s"

    def do_reload(self):
        self.peer.revision += 1
        self.peer.configure()
        assert self.peer.accepts()
        self.peer.reload()
        time.sleep(0.5)

    def do_reload_broken(self):
        """Checked first, as everybody should; and sent all the same, as somebody will."""
        self.peer.configure("\nnonsense {")
        assert not self.peer.accepts()
        self.peer.reload()
        time.sleep(0.5)
        self.peer.configure()
        self.peer.reload()
        time.sleep(0.5)

    def do_restart(self):
        name = self.name()
        self.peer.restart_instance(name)
        return name

    def do_roll(self):
        """All instances of a service, one after the other."""
        service = self.dice.choice(("web", "one"))
        for name, (of, _) in self.peer.instances().items():
            if of == service:
                self.peer.restart_instance(name)
        return service

    def do_upgrade(self):
        self.settle()
        return self.peer.upgrade()


def torture(peer, seed, seconds):
    flows = [Flow(path, port, ("udp", "udp")) if path == "echo/relay"
             else Flow(path, port, HTTP1 + ("h2",) * (path in H2_PORTS), H2_PORTS.get(path))
             for path, port in peer.paths.items()]
    account, dice = Account(f"{peer.name}, seed {seed}", flows), random.Random(seed)
    acts = Acts(peer, account, dice)
    peer.start()
    try:
        processes.wait_for(lambda: peer.masters() and peer.workers(), 20, "the proxy")
        acts.settle()
        time.sleep(1)
        until, order = time.monotonic() + seconds, []
        with account:
            while time.monotonic() < until:
                if not order:
                    order = dice.sample(acts.all, len(acts.all))
                try:
                    account.run(order.pop())
                    time.sleep(dice.uniform(0, 0.5))
                    if dice.random() < 0.5:
                        acts.settle()
                except AssertionError as error:
                    print(f"{peer.name}: {error}; set up anew", flush=True)
                    account.log.append([time.monotonic(), time.monotonic(), "set_up_anew", str(error)[:80]])
                    peer.control("restart", "all")
                    acts.settle()
    finally:
        peer.stop()
    return account


def main():
    seed, minutes = int(os.environ.get("SEED", "1")), float(os.environ.get("MINUTES", "2"))
    network = Network()
    for kind in (Nginx, Haproxy):
        if kind.name not in os.environ.get("PEERS", "nginx haproxy").split():
            continue
        place = Path(tempfile.mkdtemp(prefix="enginx-peers-"))
        place.chmod(0o755)
        try:
            with network.inside():
                account = torture(kind(place, Programs(place / "programs"), network), seed, 60 * minutes)
            print(account.report(), account.table(), sep="\n", flush=True)
        finally:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
