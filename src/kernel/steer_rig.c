#include "kernel/steer_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scoped.h"

enum { CONNECTIONS_MAX = 1100, REPLY_WITHIN_SECONDS = 2 };

#define must(what)                                                                                 \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "rig: %s:%d: %s: %s\n", __FILE__, __LINE__, #what, strerror(errno));   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- surroundings -------------------------------------------------------------------------------
 */

static bool cgroup_mount_find(char *ret_path, size_t size)
{
    scoped_file FILE *mounts = fopen("/proc/self/mounts", "re");
    char line[1024];
    char path[256];
    char type[64];
    while (mounts && fgets(line, sizeof line, mounts))
        if (sscanf(line, "%*s %255s %63s", path, type) == 2 && strcmp(type, "cgroup2") == 0)
            return snprintf(ret_path, size, "%s", path) < (int)size;
    return false;
}

static void file_write(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    scoped_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, text, strlen(text)) < 0)
        return;
}

static void cgroup_tree_remove(const char *path)
{
    file_write(path, "cgroup.kill", "1");
    for (int tries = 0; tries < 100; tries++) {
        for (int number = 0; number < 64; number++) {
            char child[512];
            snprintf(child, sizeof child, "%s/i%d/below", path, number);
            rmdir(child);
            *strrchr(child, '/') = 0;
            rmdir(child);
        }
        if (rmdir(path) == 0 || errno == ENOENT)
            return;
        usleep(20000);
    }
    fprintf(stderr, "rig: %s could not be removed\n", path);
}

static void loopback_up(void)
{
    scoped_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "lo"};
    must(ioctl(fd, SIOCGIFFLAGS, &request) == 0);
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    must(ioctl(fd, SIOCSIFFLAGS, &request) == 0);
}

int rig_run(int (*tests)(struct rig *rig))
{
    enum { SKIP = 77 };
    struct rig rig;
    char mount_path[128];
    if (geteuid() != 0 || !cgroup_mount_find(mount_path, sizeof mount_path)) {
        printf("1..0 # SKIP needs root and a cgroup2 mount\n");
        return SKIP;
    }
    snprintf(rig.cgroup, sizeof rig.cgroup, "%s/enginx-test-%d", mount_path, getpid());
    snprintf(rig.bpf_mount, sizeof rig.bpf_mount, "/tmp/enginx-test-%d", getpid());
    must(mkdir(rig.cgroup, 0755) == 0);
    must(mkdir(rig.bpf_mount, 0700) == 0);
    fflush(NULL);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
        must(unshare(CLONE_NEWNET | CLONE_NEWNS) == 0);
        must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
        loopback_up();
        signal(SIGPIPE, SIG_IGN);
        exit(tests(&rig));
    }
    int status = 0;
    must(waitpid(child, &status, 0) == child);
    cgroup_tree_remove(rig.cgroup);
    rmdir(rig.bpf_mount);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

/* ---- clients ------------------------------------------------------------------------------------
 */

static socklen_t address_parse(const char *text, uint16_t port, struct sockaddr_storage *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
    memset(ret, 0, sizeof *ret);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return sizeof *v4;
    }
    must(inet_pton(AF_INET6, text, &v6->sin6_addr) == 1);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    return sizeof *v6;
}

static int client_socket(int family, int type)
{
    int fd = socket(family, type | SOCK_CLOEXEC, 0);
    struct timeval within = {.tv_sec = REPLY_WITHIN_SECONDS};
    must(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &within, sizeof within);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &within, sizeof within);
    return fd;
}

int rig_connect(const char *address, uint16_t port, int *ret_fd)
{
    struct sockaddr_storage to;
    socklen_t length = address_parse(address, port, &to);
    scoped_fd int fd = client_socket(to.ss_family, SOCK_STREAM);
    unsigned char number;
    if (connect(fd, (struct sockaddr *)&to, length) != 0)
        return -errno;
    ssize_t got = recv(fd, &number, 1, 0);
    if (got != 1)
        return got == 0 ? -EPIPE : -errno;
    if (ret_fd)
        *ret_fd = fd_take(&fd);
    return number;
}

int rig_ask(int fd, const char *address, uint16_t port)
{
    struct sockaddr_storage to;
    struct sockaddr_storage from;
    socklen_t length = address_parse(address, port, &to);
    socklen_t from_length = sizeof from;
    scoped_fd int own = fd < 0 ? client_socket(to.ss_family, SOCK_DGRAM) : -1;
    unsigned char number;
    fd = fd < 0 ? own : fd;
    if (sendto(fd, "?", 1, 0, (struct sockaddr *)&to, length) != 1)
        return -errno;
    if (recvfrom(fd, &number, 1, 0, (struct sockaddr *)&from, &from_length) != 1)
        return -errno;
    if (((struct sockaddr_in *)&from)->sin_port != htons(port))
        return -EPROTO;
    return number;
}

/* ---- the server process
 * --------------------------------------------------------------------------- */

struct command {
    enum {
        COMMAND_CONNECT,
        COMMAND_SEND,
        COMMAND_SOCKNAME,
        COMMAND_CLOSE,
        COMMAND_RECEIVE,
        COMMAND_SERVE
    } kind;
    char address[64];
    uint16_t port;
};

static int listener_open(enum rig_listen kind, uint16_t port, bool share, int *ret_error)
{
    bool v6 = kind == RIG_V6ONLY || kind == RIG_DUAL;
    int type = kind == RIG_UDP ? SOCK_DGRAM : SOCK_STREAM;
    int fd = socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int v6only = kind == RIG_V6ONLY;
    int on = 1;
    must(fd >= 0);
    if (v6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
    if (share)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    struct sockaddr_storage at;
    socklen_t length = address_parse(v6                        ? "::"
                                     : kind == RIG_V4_LOOPBACK ? "127.0.0.1"
                                                               : "0.0.0.0",
                                     port, &at);
    if (bind(fd, (struct sockaddr *)&at, length) != 0 || (kind != RIG_UDP && listen(fd, 1024) != 0))
        *ret_error = -errno;
    return fd;
}

static void bind_often(uint16_t port, uint32_t count)
{
    struct sockaddr_storage at;
    socklen_t length = address_parse("127.0.0.9", port, &at);
    for (uint32_t i = 0; i < count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(bind(fd, (struct sockaddr *)&at, length) == 0);
        close(fd);
    }
}

struct serving {
    struct pollfd polls[1 + RIG_LISTENERS_MAX + CONNECTIONS_MAX];
    size_t count;
    size_t listeners; /* polls[1] … */
    bool udp;
    bool waits; /* for connections */
    unsigned char number;
};

/* -errno of a recv on a listener that may wait, though not for ever. */
static int listener_receives(int listener)
{
    char byte;
    struct timeval within = {.tv_usec = 100000};
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &within, sizeof within);
    must(fcntl(listener, F_SETFL, 0) == 0);
    int result = recv(listener, &byte, 1, 0) < 0 ? -errno : 0;
    must(fcntl(listener, F_SETFL, O_NONBLOCK) == 0);
    return result;
}

static void command_do(struct serving *serving, int control)
{
    int first_listener = serving->polls[1].fd;
    struct command command;
    if (recv(control, &command, sizeof command, 0) != (ssize_t)sizeof command)
        _exit(0);
    if (command.kind == COMMAND_SOCKNAME) {
        struct sockaddr_in6 name = {0};
        socklen_t length = sizeof name;
        getsockname(first_listener, (struct sockaddr *)&name, &length);
        send(control, &name, sizeof name, 0);
        return;
    }
    if (command.kind == COMMAND_CLOSE) {
        int result = close(first_listener);
        serving->polls[1].fd = -1; /* poll passes over it */
        send(control, &result, sizeof result, 0);
        return;
    }
    if (command.kind == COMMAND_RECEIVE || command.kind == COMMAND_SERVE) {
        int result = command.kind == COMMAND_RECEIVE ? listener_receives(first_listener) : 0;
        serving->waits = serving->waits || command.kind == COMMAND_SERVE;
        send(control, &result, sizeof result, 0);
        return;
    }
    /* The client runs in a process of its own, since this one may be asked to answer itself. */
    if (fork() == 0) {
        int result = command.kind == COMMAND_CONNECT
                         ? rig_connect(command.address, command.port, NULL)
                         : rig_ask(-1, command.address, command.port);
        send(control, &result, sizeof result, 0);
        _exit(0);
    }
}

static void connection_accept(struct serving *serving, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    must(serving->count < 1 + RIG_LISTENERS_MAX + CONNECTIONS_MAX);
    if (send(fd, &serving->number, 1, MSG_NOSIGNAL) == 1)
        serving->polls[serving->count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    else
        close(fd);
}

static void datagram_answer(const struct serving *serving, int fd)
{
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    char byte;
    if (recvfrom(fd, &byte, 1, 0, (struct sockaddr *)&from, &length) >= 0)
        sendto(fd, &serving->number, 1, 0, (struct sockaddr *)&from, length);
}

static void connection_serve(struct serving *serving, size_t index)
{
    char bytes[256];
    int fd = serving->polls[index].fd;
    ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got > 0 && bytes[0] == RIG_BYTE_SHUTDOWN && shutdown(fd, SHUT_WR) == 0)
        return;
    if (got > 0 && bytes[0] != RIG_BYTE_CLOSE && send(fd, bytes, (size_t)got, MSG_NOSIGNAL) == got)
        return;
    if (got < 0 && errno == EAGAIN)
        return;
    close(fd);
    serving->polls[index] = serving->polls[--serving->count];
}

static void serve(struct serving *serving)
{
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        must(poll(serving->polls, serving->waits ? serving->count : 1, -1) >= 0 || errno == EINTR);
        for (size_t i = serving->count - 1; i > serving->listeners; i--)
            if (serving->polls[i].revents)
                connection_serve(serving, i);
        for (size_t i = 1; i <= serving->listeners; i++)
            if (serving->polls[i].revents && serving->udp)
                datagram_answer(serving, serving->polls[i].fd);
            else if (serving->polls[i].revents & POLLIN)
                connection_accept(serving, serving->polls[i].fd);
        if (serving->polls[0].revents)
            command_do(serving, serving->polls[0].fd);
    }
}

static void cgroup_enter(const char *path, const char *below)
{
    char inner[512];
    snprintf(inner, sizeof inner, "%s%s", path, below);
    mkdir(inner, 0755);
    file_write(inner, "cgroup.procs", "0");
}

static void server_run(const struct rig_instance *instance, const struct rig_server *server,
                       int control, uint32_t number)
{
    static struct serving serving;
    int error = 0;
    must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    cgroup_enter(instance->cgroup, server->in_child_cgroup ? "/below" : "");
    if (server->uid) {
        must(setgroups(0, NULL) == 0 && setgid(server->uid) == 0 && setuid(server->uid) == 0);
        must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0); /* setuid has cleared it */
    }
    serving.number = (unsigned char)number;
    serving.udp = server->kind == RIG_UDP;
    serving.waits = !server->is_late;
    serving.polls[serving.count++] = (struct pollfd){.fd = control, .events = POLLIN};
    bind_often(server->port, server->binds_before);
    uint32_t workers = server->workers ? server->workers : 1;
    for (uint32_t i = 0; server->kind != RIG_NONE && i < workers; i++)
        serving.polls[serving.count++] = (struct pollfd){
            .fd = listener_open(server->kind, server->port, workers > 1, &error), .events = POLLIN};
    if (server->second != RIG_NONE)
        serving.polls[serving.count++] = (struct pollfd){
            .fd = listener_open(server->second, server->port, false, &error), .events = POLLIN};
    serving.listeners = serving.count - 1;
    must(send(control, &error, sizeof error, 0) == (ssize_t)sizeof error);
    serve(&serving);
}

void rig_instance_cgroup(struct rig *rig, struct rig_instance *instance, uint32_t number)
{
    struct stat folder;
    snprintf(instance->cgroup, sizeof instance->cgroup, "%s/i%u", rig->cgroup, number);
    must(mkdir(instance->cgroup, 0755) == 0 || errno == EEXIST);
    must(stat(instance->cgroup, &folder) == 0);
    instance->cgroup_id = folder.st_ino;
    instance->control = -1;
}

void rig_instance_start(struct rig_instance *instance, const struct rig_server *server,
                        uint32_t number)
{
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    fflush(NULL);
    instance->pid = fork();
    must(instance->pid >= 0);
    if (instance->pid == 0) {
        /* A program has been exec'ed, and holds nothing of the supervisor's. */
        must(pair[1] == 3 || close_range(3, (unsigned)pair[1] - 1, 0) == 0);
        must(close_range((unsigned)pair[1] + 1, ~0u, 0) == 0);
        server_run(instance, server, pair[1], number);
    }
    close(pair[1]);
    instance->control = pair[0];
    must(recv(pair[0], &instance->error, sizeof instance->error, 0) ==
         (ssize_t)sizeof instance->error);
}

void rig_instance_kill(struct rig_instance *instance)
{
    if (instance->pid > 0) {
        kill(instance->pid, SIGKILL);
        waitpid(instance->pid, NULL, 0);
    }
    instance->pid = 0;
    fd_drop(&instance->control);
}

void rig_instance_remove(struct rig_instance *instance)
{
    if (!instance->cgroup[0])
        return;
    rig_instance_kill(instance);
    char below[512];
    snprintf(below, sizeof below, "%s/below", instance->cgroup);
    rmdir(below);
    rmdir(instance->cgroup);
}

static int command_send(struct rig_instance *instance, int kind, const char *address, uint16_t port)
{
    struct command command = {.port = port};
    int result;
    command.kind = (__typeof__(command.kind))kind;
    snprintf(command.address, sizeof command.address, "%s", address);
    must(send(instance->control, &command, sizeof command, 0) == (ssize_t)sizeof command);
    must(recv(instance->control, &result, sizeof result, 0) == (ssize_t)sizeof result);
    return result;
}

int rig_instance_connects(struct rig_instance *instance, const char *address, uint16_t port)
{
    return command_send(instance, COMMAND_CONNECT, address, port);
}

int rig_instance_sends(struct rig_instance *instance, const char *address, uint16_t port)
{
    return command_send(instance, COMMAND_SEND, address, port);
}

void rig_instance_closes(struct rig_instance *instance)
{
    must(command_send(instance, COMMAND_CLOSE, "", 0) == 0);
}

int rig_instance_receives(struct rig_instance *instance)
{
    return command_send(instance, COMMAND_RECEIVE, "", 0);
}

void rig_instance_serves(struct rig_instance *instance)
{
    must(command_send(instance, COMMAND_SERVE, "", 0) == 0);
}

struct sockaddr_in6 rig_instance_sockname(struct rig_instance *instance)
{
    struct command command = {.kind = COMMAND_SOCKNAME};
    struct sockaddr_in6 name;
    must(send(instance->control, &command, sizeof command, 0) == (ssize_t)sizeof command);
    must(recv(instance->control, &name, sizeof name, 0) == (ssize_t)sizeof name);
    return name;
}

/* ---- another machine, as it were
 * --------------------------------------------------------------------- */

static void outside_client(int go, int answer, uint16_t port)
{
    char byte;
    must(unshare(CLONE_NEWNET) == 0);
    must(write(answer, "u", 1) == 1);
    must(read(go, &byte, 1) == 1);
    must(system("ip address add 10.99.0.2/24 dev rig1 && ip link set rig1 up") == 0);
    int result = rig_connect("10.99.0.1", port, NULL);
    must(write(answer, &result, sizeof result) == (ssize_t)sizeof result);
    _exit(0);
}

int rig_connect_from_outside(uint16_t port)
{
    int go[2];
    int answer[2];
    char text[256];
    char byte;
    int result;
    must(pipe2(go, O_CLOEXEC) == 0 && pipe2(answer, O_CLOEXEC) == 0);
    fflush(NULL);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0)
        outside_client(go[0], answer[1], port);
    close(go[0]); /* so that its end is noticed */
    close(answer[1]);
    must(read(answer[0], &byte, 1) == 1);
    snprintf(text, sizeof text,
             "ip link add rig0 type veth peer name rig1 netns %d && "
             "ip address add 10.99.0.1/24 dev rig0 && ip link set rig0 up",
             child);
    must(system(text) == 0);
    must(write(go[1], "g", 1) == 1);
    must(read(answer[0], &result, sizeof result) == (ssize_t)sizeof result);
    must(waitpid(child, NULL, 0) == child);
    if (system("ip link delete rig0 2>/dev/null") != 0)
        usleep(1000); /* the kernel has removed it with the other namespace */
    close(go[1]);
    close(answer[0]);
    return result;
}
