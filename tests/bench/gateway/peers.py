"""The proxies that are measured: how each is configured at its best (DATAPLANE: "Tuning the peers
fairly") and started with one core. A variant is a configuration of a peer; for each row the best
variant of a peer is the one to beat."""

import os
import shutil
import subprocess
from pathlib import Path

NGINX = """
daemon off; master_process off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/error.log crit;
worker_rlimit_nofile 17000;
{stream_module}
events {{ worker_connections 12000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; tcp_nodelay on; sendfile on;
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/f;
  uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
  {buffers}
  proxy_cache_path {memory}/{cache} keys_zone=pages:16m max_size=256m inactive=1h use_temp_path=off;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 512; keepalive_requests 1000000000; }}
  upstream php {{ server 127.0.0.1:{responder}; keepalive 512; keepalive_requests 1000000000; }}
  upstream callee {{ server 127.0.0.1:{callee}; keepalive 512; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{grpc} http2 backlog=4096; http2_max_requests 1000000000;
    location / {{ grpc_pass grpc://callee; }} }}
  server {{ listen 127.0.0.1:{php} backlog=4096 deferred;
    location / {{ fastcgi_pass php; fastcgi_keep_conn on; include /etc/nginx/fastcgi_params;
      fastcgi_param SCRIPT_FILENAME /srv/www$fastcgi_script_name; }} }}
  server {{ listen 127.0.0.1:{http} backlog=4096 deferred; listen 127.0.0.1:{tls} ssl http2 backlog=4096 deferred;
    listen 127.0.0.1:{h2c} http2 backlog=4096; http2_max_requests 1000000000;
    ssl_certificate {certificate}; ssl_certificate_key {certificate}; ssl_session_cache off;
    ssl_protocols TLSv1.2 TLSv1.3;
    location /files/ {{ root {public}; open_file_cache max=1000 inactive=60s; open_file_cache_valid 1s; }}
    location /text/ {{ root {public}; open_file_cache max=1000 inactive=60s; open_file_cache_valid 1s;
      gzip on; gzip_comp_level 4; gzip_min_length 1k; }}
    location /cached/ {{ rewrite ^/cached(/.*)$ $1 break; proxy_pass http://origin; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_cache pages; proxy_cache_valid 200 1h; proxy_cache_lock on;
      open_file_cache max=1000 inactive=60s; open_file_cache_valid 1s; }}
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}
stream {{
  access_log off; proxy_buffer_size {stream_buffer};
  server {{ listen 127.0.0.1:{tcp} backlog=4096; proxy_pass 127.0.0.1:{origin}; }}
  server {{ listen 127.0.0.1:{udp} udp; proxy_pass 127.0.0.1:{origin}; proxy_timeout 20s; }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 6000
  {tune}
defaults
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  {splice}
frontend web
  mode http
  option http-keep-alive
  bind 127.0.0.1:{http} backlog 4096 defer-accept
  bind 127.0.0.1:{tls} backlog 4096 defer-accept ssl crt {certificate} alpn h2,http/1.1
  bind 127.0.0.1:{h2c} backlog 4096 proto h2
  default_backend web
backend web
  mode http
  http-reuse always
  server origin 127.0.0.1:{origin} pool-max-conn 1000
frontend calls
  mode http
  bind 127.0.0.1:{grpc} backlog 4096 proto h2
  default_backend calls
backend calls
  mode http
  http-reuse always
  server callee 127.0.0.1:{callee} proto h2 pool-max-conn 1000
frontend raw
  mode tcp
  bind 127.0.0.1:{tcp} backlog 4096
  default_backend raw
backend raw
  mode tcp
  server origin 127.0.0.1:{origin}
"""

CADDY = """
{{
  admin off
  auto_https off
  servers {{
    protocols h1 h2
  }}
}}
http://127.0.0.1:{http} {{
  reverse_proxy 127.0.0.1:{origin}
}}
https://127.0.0.1:{tls} {{
  tls {certificate} {certificate}
  reverse_proxy 127.0.0.1:{origin}
}}
"""

ENGINX = """
gateway threads=1 connections=8000;
cache pages memory=64m;
service origin {{ at 127.0.0.1:{origin}; capacity idle=1024; timeout idle=600s; }}
listen 127.0.0.1:{http} http {{ timeout idle=600s; route / -> origin; route /files/ -> files {public};
  route /text/ -> files {public} {{ compress gzip level=4; }}
  route /cached/ -> origin {{ cache pages ttl=1h; rewrite strip=/cached; }} }}
listen 127.0.0.1:{tls} http tls {{ certificate {certificate}; timeout idle=600s; route / -> origin; }}
listen 127.0.0.1:{h2c} http {{ timeout idle=600s; route / -> origin; }}
listen 127.0.0.1:{tcp} tcp -> origin;
listen 127.0.0.1:{udp} udp -> origin;
"""

ENGINX_PHP = """
service callee {{ at 127.0.0.1:{callee}; speaks http2; timeout idle=600s; }}
listen 127.0.0.1:{grpc} http {{ timeout idle=600s; route / -> callee; }}
service php {{ at 127.0.0.1:{responder}; speaks fastcgi; capacity idle=1024; timeout idle=600s; }}
listen 127.0.0.1:{php} http {{ timeout idle=600s; route *.php -> php root=/srv/www; }}
"""


class Peer:
    """A proxy that runs. `ports`: what it listens on, by kind (http, tls, tcp, udp)."""

    def __init__(self, name, variant, place, ports, cpu):
        self.name, self.variant, self.place, self.ports, self.cpu = name, variant, place, ports, cpu
        self.process = None

    @property
    def label(self):
        return f"{self.name} {self.variant}".strip()

    def start(self, command, **options):
        log = open(self.place / "output.txt", "ab")
        self.process = subprocess.Popen(["taskset", "-c", str(self.cpu), *map(str, command)],
                                        stdout=log, stderr=log, stdin=subprocess.DEVNULL, **options)
        return self

    def pids(self):
        """The process and all that came of it."""
        if self.process is None:
            return []
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for thread in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    todo += [int(word) for word in thread.read_text().split()]
                except OSError:
                    pass
        return found

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Enginx(Peer):
    """Its own processes find a session of their own, so `down` is asked for."""

    def __init__(self, binary, variant, *rest):
        super().__init__("enginx", variant, *rest)
        self.binary = binary

    def options(self):
        return [str(self.binary), "-c", f"bench{self.variant}", "--state", str(self.place / "state"),
                "--cgroup", f"enginx-bench{self.variant}-{os.getpid()}"]

    def gateway(self):
        """The process that carries the load."""
        return [pid for pid in self.pids() if "gateway" in Path(f"/proc/{pid}/cmdline").read_text()]

    def end(self):
        subprocess.run([*self.options(), "down"], capture_output=True, check=False, timeout=20)
        super().end()


def nginx_stream_module():
    path = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    return f"load_module {path};" if path.exists() else ""


def make(wanted, values, place, cpu, binaries, floor, ports):
    """Starts the wanted peers; `binaries`: enginx's, by variant; `ports()` gives a dict of free ports."""
    peers = []

    def new(name, variant, template, file, **more):
        here = place / f"{name}-{variant or 'plain'}"
        here.mkdir()
        mine = ports()
        path = here / file
        path.write_text(template.format(place=here, **values, **mine, **more))
        return Peer(name, variant, here, mine, cpu), path

    buffers = {"": "", "unbuffered": "proxy_buffering off;",
               "64k": "proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 128k;"}
    if "direct" in wanted:  # no proxy at all
        here = place / "direct"
        here.mkdir()
        origin = values["origin"]
        peers.append(Peer("direct", "", here, dict.fromkeys(("http", "tcp", "udp"), origin), cpu))
    if "floor" in wanted:
        here = place / "floor-plain"
        here.mkdir()
        mine = ports()
        peers.append(Peer("floor", "", here, {"http": mine["tcp"], "tcp": mine["tcp"]}, cpu)
                     .start([floor, mine["tcp"], values["origin"]]))
    for variant, path in binaries.items() if "enginx" in wanted else ():
        here = place / f"enginx-as-{variant or 'plain'}"
        here.mkdir()
        here.chmod(0o755)
        mine = ports()
        (here / "enginx.conf").write_text(
            (ENGINX + ENGINX_PHP).format(**values, **mine))
        peer = Enginx(path, variant, here, mine, cpu)
        peers.append(peer.start([*peer.options(), "up", here / "enginx.conf"], cwd=here))
    if "nginx" in wanted and shutil.which("nginx"):
        for variant, text in buffers.items():
            peer, path = new("nginx", variant, NGINX, "nginx.conf", buffers=text, cache=variant or "plain",
                             stream_buffer="64k" if variant == "64k" else "16k",
                             stream_module=nginx_stream_module())
            peers.append(peer.start(["nginx", "-c", path, "-p", peer.place]))
    if "haproxy" in wanted and shutil.which("haproxy"):
        kinds = {"": ("", ""), "splice": ("", "option splice-request\n  option splice-response"),
                 "64k": ("tune.bufsize 65536", "")}
        for variant, (tune, splice) in kinds.items():
            peer, path = new("haproxy", variant, HAPROXY, "haproxy.cfg", tune=tune, splice=splice)
            peers.append(peer.start(["haproxy", "-db", "-f", path]))
    if "caddy" in wanted and shutil.which("caddy"):
        peer, path = new("caddy", "", CADDY, "Caddyfile")
        peers.append(peer.start(["caddy", "run", "--adapter", "caddyfile", "--config", path],
                                env={**os.environ, "GOMAXPROCS": "1", "HOME": str(peer.place)}))
    return peers
