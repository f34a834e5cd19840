/* A test driver: runs a steering mechanism over real programs, by commands on standard input, one
 * a line, and tells on standard output what happens. steering_test.py uses it. It stands in for the
 * supervisor (it starts, kills and restarts) and for the keeper (it holds what is to be kept).
 *
 *     service NAME POLICY [publish] [uses=INDEX,…]     POLICY: least, hash, …
 *     listen PORT tcp|udp SERVICE TARGET [ADDRESS]
 *     setup seccomp|none|auto
 *     start SLOT SERVICE NUMBER COMMAND                by sh -c, in a process group of its own
 *     again SLOT                                       the same command, after kill
 *     kill SLOT | stop SLOT                            SIGKILL; gone, coming back or for good
 *     rotate SERVICE SLOT:WEIGHT …
 *     counts SLOT
 *     crash                                            end (leaving all) and take over
 *     quit
 * Each command answers "ok", or "error REASON". Events: "binds SLOT PROTO PORT", "listens …",
 * "why TEXT". */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "event/signals.h"
#include "steering/steering.h"

enum { SLOTS = 16, SERVICES = 8, LISTENERS = 8, KEPT = 128, LINE_BYTES = 4096, TEXTS = 64 };

static struct loop *loop;
static struct steering *steering;
static struct service services[SERVICES];
static struct listener listeners[LISTENERS];
static uint32_t homes[SERVICES];
static uint32_t uses[SERVICES][8];
static struct topology topology = {.name = "test", .services = services, .listeners = listeners};
static char mechanism[16];

static struct instance {
    pid_t pid;
    struct steering_instance steering;
    char command[LINE_BYTES];
} instances[SLOTS];

static struct kept {
    char name[256];
    int fd;
} kept[KEPT];

/* ---- what the supervisor would do --------------------------------------------------------------
 */

static void tell(const char *what, const struct steering_listen *listen)
{
    printf("%s %u %s %u\n", what, listen->slot, listen->protocol == PROTOCOL_TCP ? "tcp" : "udp",
           listen->port);
}

static void on_binds(void *owner, const struct steering_listen *listen)
{
    (void)owner;
    tell("binds", listen);
}

static void on_listens(void *owner, const struct steering_listen *listen)
{
    (void)owner;
    tell("listens", listen);
}

static pid_t process_group(const char *pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    FILE *file = fopen(path, "re");
    char text[512] = "";
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[length] = 0;
    const char *after = strrchr(text, ')');
    int group;
    char state;
    bool read = after && sscanf(after, ") %c %*d %d", &state, &group) == 2;
    return read && state != 'Z' ? group : 0; /* a zombie holds nothing */
}

static size_t on_processes(void *owner, uint32_t slot, pid_t *ret_pids, size_t max)
{
    (void)owner;
    size_t count = 0;
    DIR *directory = opendir("/proc");
    struct dirent *entry;
    while (directory && (entry = readdir(directory)) && count < max)
        if (isdigit((unsigned char)entry->d_name[0]) && instances[slot].pid &&
            process_group(entry->d_name) == instances[slot].pid)
            ret_pids[count++] = atoi(entry->d_name);
    if (directory)
        closedir(directory);
    return count;
}

static struct kept *kept_find(const char *name)
{
    for (size_t i = 0; i < KEPT; i++)
        if (strcmp(kept[i].name, name) == 0)
            return &kept[i];
    return NULL;
}

static void on_forget(void *owner, const char *name)
{
    (void)owner;
    struct kept *old = kept_find(name);
    if (!old) {
        printf("error forgets %s\n", name);
        return;
    }
    close(old->fd);
    old->name[0] = 0;
}

static void on_keep(void *owner, const char *name, int fd)
{
    (void)owner;
    struct kept *place = kept_find(name);
    if (place)
        close(place->fd);
    else
        place = kept_find("");
    if (!place)
        abort();
    snprintf(place->name, sizeof place->name, "%s", name);
    place->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static const struct steering_callbacks callbacks = {.binds = on_binds,
                                                    .listens = on_listens,
                                                    .processes = on_processes,
                                                    .keep = on_keep,
                                                    .forget = on_forget};

static int steering_begin(void)
{
    struct steering_setup setup = {.loop = loop,
                                   .topology = &topology,
                                   .homes = homes,
                                   .slots_max = SLOTS,
                                   .privileged = geteuid() == 0,
                                   .callbacks = &callbacks};
    char why[1024] = "";
    bool adopted;
    int error;
    if (strcmp(mechanism, "none") == 0)
        error = steering_none_new(&setup, &steering);
    else if (strcmp(mechanism, "auto") == 0)
        error = steering_new(&setup, &steering, &adopted, why, sizeof why);
    else
        error = steering_seccomp_new(&setup, &steering, why, sizeof why);
    printf("why %s\n", why);
    return error;
}

/* ---- starting -----------------------------------------------------------------------------------
 */

static void descriptor_send(int channel, int fd)
{
    char control[CMSG_SPACE(sizeof fd)] = {0};
    char byte = 'n';
    struct iovec bytes = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    if (sendmsg(channel, &message, 0) != 1)
        _exit(97);
}

static int descriptor_receive(int channel)
{
    char control[CMSG_SPACE(sizeof(int))];
    char byte;
    struct iovec bytes = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) < 1 || !CMSG_FIRSTHDR(&message))
        return -1;
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

static void child_run(const struct instance *instance, int channel, bool filtered,
                      const struct seccomp_wants *wants)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int quiet = open("/dev/null", O_RDWR);
    dup2(quiet, 0);
    dup2(2, 1);
    signals_unblock_all();
    if (filtered) {
        int fd = seccomp_install(wants, geteuid() == 0);
        if (fd < 0)
            _exit(96);
        descriptor_send(channel, fd);
        char go;
        if (read(channel, &go, 1) != 1)
            _exit(95);
        close(fd);
    }
    execl("/bin/sh", "sh", "-c", instance->command, NULL);
    _exit(94);
}

static int instance_start(struct instance *instance)
{
    static uint32_t epoch;
    instance->steering.epoch = ++epoch;
    int error = steering->operations->prepare(steering, &instance->steering);
    if (error)
        return error;
    struct seccomp_wants wants;
    bool filtered = steering->operations->wants(steering, instance->steering.slot, &wants);
    int channel[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) < 0)
        return -errno;
    fflush(stdout);
    instance->pid = fork();
    if (instance->pid == 0)
        child_run(instance, channel[1], filtered, &wants);
    setpgid(instance->pid, instance->pid);
    close(channel[1]);
    int notify_fd = filtered ? descriptor_receive(channel[0]) : -1;
    error = filtered && notify_fd < 0
                ? -EIO
                : steering->operations->started(steering, instance->steering.slot, notify_fd);
    if (filtered && write(channel[0], "g", 1) != 1)
        error = -EIO;
    close(channel[0]);
    return error;
}

static void instance_end(struct instance *instance, bool coming_back)
{
    if (instance->pid) {
        kill(-instance->pid, SIGKILL);
        waitpid(instance->pid, NULL, 0);
        static pid_t pids[64]; /* the others of its group are reaped by init */
        for (int tries = 0; tries < 200; tries++) {
            if (on_processes(NULL, instance->steering.slot, pids, 64) == 0)
                break;
            usleep(5000);
        }
    }
    instance->pid = 0;
    steering->operations->gone(steering, instance->steering.slot, coming_back);
}

/* ---- commands -----------------------------------------------------------------------------------
 */

static char *text_copy(const char *text)
{
    return strdup(text ? text : "");
}

static int do_service(char *rest)
{
    uint32_t index = (uint32_t)topology.service_count++;
    struct service *service = &services[index];
    *service = (struct service){.index = index, .listens = true, .uses = uses[index]};
    service->name = text_copy(strtok(rest, " "));
    const char *policy = strtok(NULL, " ");
    service->balance = strcmp(policy, "hash") == 0       ? BALANCE_HASH
                       : strcmp(policy, "weighted") == 0 ? BALANCE_WEIGHTED
                                                         : BALANCE_LEAST;
    for (char *word; (word = strtok(NULL, " "));) {
        if (strcmp(word, "publish") == 0)
            service->publish = true;
        else if (strncmp(word, "uses=", 5) == 0)
            for (char *at = word + 5; *at; at += strcspn(at, ","), at += *at == ',')
                uses[index][service->uses_count++] = (uint32_t)strtoul(at, NULL, 10);
    }
    homes[index] = 0x7f560000 + index + 1;
    return 0;
}

static int do_listen(char *rest)
{
    struct listener *listener = &listeners[topology.listener_count++];
    char protocol[8], address[64] = "";
    unsigned port, service, target;
    if (sscanf(rest, "%u %7s %u %u %63s", &port, protocol, &service, &target, address) < 4)
        return -EINVAL;
    *listener =
        (struct listener){.port = (uint16_t)port,
                          .protocol = strcmp(protocol, "udp") == 0 ? PROTOCOL_UDP : PROTOCOL_TCP,
                          .service = service,
                          .target_port = (uint16_t)target,
                          .text = "listener"};
    if (address[0]) {
        struct sockaddr_in *four = (struct sockaddr_in *)&listener->address;
        four->sin_family = AF_INET;
        inet_pton(AF_INET, address, &four->sin_addr);
    }
    return 0;
}

static int do_start(const char *rest)
{
    unsigned slot, service, number;
    int at = 0;
    if (sscanf(rest, "%u %u %u %n", &slot, &service, &number, &at) < 3 || slot >= SLOTS)
        return -EINVAL;
    struct instance *instance = &instances[slot];
    instance->steering =
        (struct steering_instance){.slot = slot,
                                   .service = service,
                                   .number = number,
                                   .address = 0x7f4d0000 + ((service + 1) << 8) + number,
                                   .wanted = 1};
    snprintf(instance->command, sizeof instance->command, "%s", rest + at);
    return instance_start(instance);
}

static int do_rotate(char *rest)
{
    struct rotation_member members[SLOTS];
    uint32_t numbers[SLOTS];
    size_t count = 0;
    char *word = strtok(rest, " ");
    uint32_t service = (uint32_t)strtoul(word, NULL, 10);
    while ((word = strtok(NULL, " ")) && count < SLOTS) {
        unsigned slot, weight;
        if (sscanf(word, "%u:%u", &slot, &weight) != 2)
            return -EINVAL;
        numbers[count] = instances[slot].steering.number;
        members[count++] = (struct rotation_member){.slot = slot, .weight = weight};
    }
    return steering->operations->rotate(steering, service, members, numbers, count);
}

static int do_counts(const char *rest)
{
    int64_t live;
    uint64_t total;
    if (!steering->operations->counts(steering, (uint32_t)atoi(rest), &live, &total))
        return -ENODATA;
    printf("counts %lld %s\n", (long long)live, total == STEERING_TOTAL_UNKNOWN ? "?" : "known");
    return 0;
}

static int do_crash(void)
{
    steering->operations->end(steering, true);
    int error = steering_begin();
    if (error)
        return error;
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (instances[slot].command[0]) /* also those that will be started again */
            steering->operations->prepare(steering, &instances[slot].steering);
    /* In an order that tells nothing, as a keeper may have it. */
    for (size_t i = KEPT; i-- > 0;) {
        if (!kept[i].name[0])
            continue;
        int fd = fcntl(kept[i].fd, F_DUPFD_CLOEXEC, 3);
        char name[sizeof kept[i].name];
        memcpy(name, kept[i].name, sizeof name); /* it may be forgotten meanwhile */
        if (!steering->operations->found(steering, name, fd))
            close(fd);
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (instances[slot].pid)
            steering->operations->started(steering, slot, -1);
    return 0;
}

static size_t descriptors_open(void)
{
    size_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory && readdir(directory))
        count++;
    if (directory)
        closedir(directory);
    return count;
}

static size_t descriptors_before;

static int do_setup(const char *name)
{
    descriptors_before = descriptors_open();
    snprintf(mechanism, sizeof mechanism, "%s", name);
    return steering_begin();
}

static int do_quit(void)
{
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (instances[slot].pid)
            instance_end(&instances[slot], false);
    if (steering) /* whose setup went well */
        steering->operations->end(steering, false);
    steering = NULL;
    for (size_t i = 0; i < KEPT; i++)
        if (kept[i].name[0])
            printf("error kept %s\n", kept[i].name);
    if (descriptors_open() != descriptors_before)
        printf("error descriptors %zu, before %zu\n", descriptors_open(), descriptors_before);
    loop_stop(loop);
    return 0;
}

static int command_run(char *line)
{
    char *rest = line + strcspn(line, " ");
    if (*rest)
        *rest++ = 0;
    if (strcmp(line, "service") == 0)
        return do_service(rest);
    if (strcmp(line, "listen") == 0)
        return do_listen(rest);
    if (strcmp(line, "setup") == 0)
        return do_setup(rest);
    if (strcmp(line, "start") == 0)
        return do_start(rest);
    if (strcmp(line, "again") == 0)
        return instance_start(&instances[atoi(rest)]);
    if (strcmp(line, "kill") == 0 || strcmp(line, "stop") == 0) {
        instance_end(&instances[atoi(rest)], line[0] == 'k');
        return 0;
    }
    if (strcmp(line, "rotate") == 0)
        return do_rotate(rest);
    if (strcmp(line, "counts") == 0)
        return do_counts(rest);
    if (strcmp(line, "crash") == 0)
        return do_crash();
    if (strcmp(line, "quit") == 0)
        return do_quit();
    return -ENOSYS;
}

static void input_ready(struct watch *watch, unsigned events)
{
    (void)events;
    static char text[LINE_BYTES];
    static size_t length;
    ssize_t got = read(watch->fd, text + length, sizeof text - 1 - length);
    if (got <= 0) {
        loop_stop(loop);
        return;
    }
    length += (size_t)got;
    text[length] = 0;
    char *end;
    while ((end = strchr(text, '\n'))) {
        *end = 0;
        char line[LINE_BYTES];
        memcpy(line, text, (size_t)(end - text) + 1);
        length -= (size_t)(end + 1 - text);
        memmove(text, end + 1, length + 1);
        int error = command_run(line);
        if (error)
            printf("error %s\n", strerrorname_np(-error));
        else
            printf("ok\n");
    }
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_DUMPABLE, 1);
    loop = loop_new();
    struct watch input = {0};
    if (!loop || watch_start(loop, &input, 0, WATCH_READ, input_ready, NULL) < 0)
        return 1;
    int error = loop_run(loop);
    watch_stop(loop, &input);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (instances[slot].pid)
            kill(-instances[slot].pid, SIGKILL);
    loop_free(loop);
    return error ? 1 : 0;
}
