"""`enginx run -n N -- PROGRAM` makes a cluster of any server program: all instances answer on the port
that the program believes in, as root and without privileges."""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import clients

pytestmark = pytest.mark.both_accounts


def all_answer(cluster, count, ask, within=15):
    """Every instance of the cluster answers to clients of the one port. `ask` gives the pid of the
    process that answered, or, as text, the number of its instance."""
    cluster.wait_up(count, within=within)
    met = set()

    def meets_all():
        for _ in range(count * 4):
            answer = ask()
            met.add(int(answer) if isinstance(answer, str) else cluster.instance_of(answer))
        assert len(met) == count, f"only instances {met} have answered"
        return True

    cluster.wait(meets_all, 5, "every instance to answer")


def http_pid(port):
    return lambda: int(clients.ask(port).split()[-1])


def test_python_http_server(cluster):
    # The documentation's one-liner: serves the directory, here one per instance.
    for number in (1, 2, 3):
        cluster.file(f"site/{number}/whoami", f"{number} 0\n")
    cluster.up("""
        service files {
            run       /usr/bin/python3 -m http.server 8000;
            directory site/$instance;
            instances 3;
        }""")
    cluster.wait_up(3)
    cluster.wait(lambda: set(clients.who_answers(8000, 12)) == {"1", "2", "3"}, 5, "all to answer")


def test_node(cluster, programs):
    cluster.run("-n", "4", "--", "node", programs.path("web.js"))
    all_answer(cluster, 4, http_pid(3000))


def test_node_cluster_module(cluster, programs):
    cluster.run("-n", "2", "--", "node", programs.path("cluster.js"))
    all_answer(cluster, 2, http_pid(3001))


def test_redis(cluster):
    cluster.run("-n", "3", "--", "redis-server", "--save", "", "--protected-mode", "no")
    all_answer(cluster, 3, lambda: clients.redis_pid(6379))


def test_nginx_with_two_workers(cluster, programs):
    cluster.up(f"""
        service web {{
            run       /usr/sbin/nginx -p $state/ -e stderr -c {programs.path("nginx.conf")} -g "daemon off;";
            instances 2;
        }}""")
    all_answer(cluster, 2, http_pid(8084))
    assert clients.ask(8084, host="::1")  # its second listener is [::]:8084, IPv6 only


def test_php(cluster, programs):
    cluster.run("-n", "3", "--", "php", "-S", "127.0.0.1:8083", programs.path("web.php"))
    all_answer(cluster, 3, http_pid(8083))


def test_memcached(cluster, account):
    user = ["-u", "nobody"] if account.root else []
    cluster.run("-n", "3", "--", "memcached", "-l", "0.0.0.0", "-m", "16", *user)
    all_answer(cluster, 3, lambda: clients.memcached_pid(11211))


def test_postgresql(cluster, account):
    # It refuses to run as root, so a cluster of root's gives it a user.
    user = "postgres" if account.root else account.name
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    folder = cluster.folder("data")
    shutil.chown(folder, user)
    subprocess.run([programs / "initdb", "--no-sync", "-A", "trust", "-U", "tester",
                    "-D", folder / "1"], check=True, user=user, extra_groups=[], cwd=folder,
                   stdout=subprocess.DEVNULL)
    subprocess.run(["cp", "-a", folder / "1", folder / "2"], check=True)
    cluster.up(f"""
        service db {{
            run       {programs}/postgres -D {folder}/$instance -c unix_socket_directories=
                      -c fsync=off -c shared_buffers=16MB;
            {"user postgres;" if account.root else ""}
            instances 2;
            stop      SIGINT within=5s;
        }}""")
    all_answer(cluster, 2, lambda: clients.postgres_instance(5432, "tester"))


def test_static_go(cluster, programs):
    cluster.run("-n", "4", "--", programs.built("web_go"))
    all_answer(cluster, 4, http_pid(8082))


def test_java(cluster, programs):
    cluster.run("-n", "2", "--", "java", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
                programs.path("Web.java"))
    all_answer(cluster, 2, http_pid(8081), within=20)


def test_udp_echo(cluster, programs):
    cluster.up(f"""
        service echo {{ run {programs.python("echo_udp")}; env WHO=$instance; instances 3; }}""")
    cluster.wait_up(3)
    met = {clients.ask_udp(4000) for _ in range(60)}
    assert met == {"1", "2", "3"}


def test_prefork(cluster, programs):
    cluster.run("-n", "3", "--", programs.built("prefork"))
    all_answer(cluster, 3, http_pid(8085))
