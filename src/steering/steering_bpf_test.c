/* Steering with BPF, with tiny servers as instances (kernel/steer_rig.h). */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/scoped.h"
#include "kernel/steer_rig.h"
#include "steering/steering.h"
#include "topology/addresses.h"

enum {
    SLOTS = 16,
    SERVICES = 3,
    PORT = 3000,
    PUBLISHED = 8080,
    GATEWAY = 99, /* answers, where an instance answers with its slot */
    WITHIN_MS = 3000,
    NOBODY = 65534,
    KEPT_MAX = 32,
    HOME_FIRST = 0x7f560201,
};

struct keeping { /* the keeper's part */
    char name[256];
    int fd;
};

static struct rig *rig;
static struct loop *loop;
static struct steering *steering;
static struct topology topology;
static struct service services[SERVICES];
static struct listener listeners[4];
static const uint32_t homes[SERVICES] = {HOME_FIRST, HOME_FIRST + 1, HOME_FIRST + 2};
static struct rig_instance instances[SLOTS];
static struct steering_instance members[SLOTS];
static struct steering_listen heard[256];
static size_t heard_count;
static struct keeping keeping[KEPT_MAX];
static char why[512];
static bool adopted;

static void note_binds(void *owner, const struct steering_listen *listen)
{
    (void)owner;
    (void)listen;
}
static void note_listens(void *owner, const struct steering_listen *listen)
{
    (void)owner;
    assert_true(heard_count < 256);
    heard[heard_count++] = *listen;
}
static size_t processes(void *owner, uint32_t slot, pid_t *ret_pids, size_t max)
{
    (void)owner;
    assert_true(max > 0);
    ret_pids[0] = instances[slot].pid;
    return instances[slot].pid > 0;
}
static void keep(void *owner, const char *name, int fd)
{
    (void)owner;
    for (int i = 0; i < KEPT_MAX; i++) {
        if (keeping[i].name[0] && strcmp(keeping[i].name, name) != 0)
            continue;
        if (keeping[i].name[0])
            close(keeping[i].fd);
        snprintf(keeping[i].name, sizeof keeping[i].name, "%s", name);
        keeping[i].fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return;
    }
    fail_msg("too many are kept");
}
static void forget(void *owner, const char *name)
{
    (void)owner;
    for (int i = 0; i < KEPT_MAX; i++) {
        if (strcmp(keeping[i].name, name) != 0)
            continue;
        keeping[i].name[0] = 0;
        fd_drop(&keeping[i].fd);
        return;
    }
    fail_msg("%s was not kept", name);
}
static int kept_count(const char *prefix)
{
    int count = 0;
    for (int i = 0; i < KEPT_MAX; i++)
        count += keeping[i].name[0] && strncmp(keeping[i].name, prefix, strlen(prefix)) == 0;
    return count;
}

static const struct steering_callbacks callbacks = {.binds = note_binds,
                                                    .listens = note_listens,
                                                    .processes = processes,
                                                    .keep = keep,
                                                    .forget = forget};

static int begin(void)
{
    struct steering_setup with = {.loop = loop,
                                  .topology = &topology,
                                  .homes = homes,
                                  .cgroup_path = rig->cgroup,
                                  .bpf_mount = rig->bpf_mount,
                                  .slots_max = SLOTS,
                                  .privileged = true,
                                  .callbacks = &callbacks};
    return steering_bpf_new(&with, &steering, &adopted, why, sizeof why);
}

static int setup(void **state)
{
    (void)state;
    static const char *const names[SERVICES] = {"one", "two", "three"};
    heard_count = 0;
    memset(instances, 0, sizeof instances);
    memset(members, 0, sizeof members);
    memset(services, 0, sizeof services);
    memset(listeners, 0, sizeof listeners);
    memset(keeping, 0, sizeof keeping);
    for (uint32_t i = 0; i < SERVICES; i++)
        services[i] = (struct service){.index = i, .name = names[i], .listens = true};
    topology = (struct topology){.name = "bpf test",
                                 .services = services,
                                 .service_count = SERVICES,
                                 .listeners = listeners};
    loop = loop_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (steering)
        steering->operations->end(steering, false);
    steering = NULL;
    for (int i = 0; i < SLOTS; i++)
        rig_instance_remove(&instances[i]);
    for (int i = 0; i < KEPT_MAX; i++)
        if (keeping[i].name[0])
            close(keeping[i].fd);
    loop_free(loop);
    return 0;
}

static void turn_until_heard(uint32_t slot)
{
    for (int waited = 0; waited < WITHIN_MS; waited += 10) {
        for (size_t i = 0; i < heard_count; i++)
            if (heard[i].slot == slot && heard[i].epoch == members[slot].epoch)
                return;
        assert_int_equal(loop_turn(loop, 10), 0);
    }
    fail_msg("slot %u was not heard of", slot);
}

static void rotate(uint32_t service)
{
    struct rotation_member all[SLOTS];
    uint32_t numbers[SLOTS];
    size_t count = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (members[slot].epoch == 0 || members[slot].service != service)
            continue;
        all[count] = (struct rotation_member){.slot = slot, .weight = instances[slot].pid > 0};
        numbers[count++] = members[slot].number;
    }
    assert_int_equal(steering->operations->rotate(steering, service, all, numbers, count), 0);
}

static void prepare(uint32_t slot, uint32_t service, uint32_t wanted)
{
    /* Each start has a cgroup of its own. */
    rig_instance_cgroup(rig, &instances[slot], slot + SLOTS * ((members[slot].epoch + 1) % 4));
    members[slot] = (struct steering_instance){.slot = slot,
                                               .service = service,
                                               .number = slot + 1,
                                               .epoch = members[slot].epoch + 1,
                                               .address = 0x7f4d0101 + slot,
                                               .cgroup_id = instances[slot].cgroup_id,
                                               .wanted = wanted};
    assert_int_equal(steering->operations->prepare(steering, &members[slot]), 0);
}

static void start(uint32_t slot, uint32_t service, uint32_t wanted, const struct rig_server *server)
{
    prepare(slot, service, wanted);
    rig_instance_start(&instances[slot], server, slot);
    assert_int_equal(instances[slot].error, 0);
    assert_int_equal(steering->operations->started(steering, slot, -1), 0);
    turn_until_heard(slot);
    rotate(service);
}

static void publish(size_t index, uint32_t service, uint16_t port, uint16_t target)
{
    listeners[index] = (struct listener){.port = port,
                                         .service = service,
                                         .target_port = target,
                                         .text = port == PUBLISHED ? "tcp:8080" : "tcp:other"};
    topology.listener_count = index + 1;
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void ports_are_learnt_and_published(void **state)
{
    (void)state;
    services[0].balance = BALANCE_ROUND_ROBIN;
    publish(0, 0, PUBLISHED, 0);
    assert_int_equal(begin(), 0);
    assert_int_equal(rig_connect("127.0.0.1", PUBLISHED, NULL), -ECONNREFUSED);
    struct rig_server server = {.kind = RIG_DUAL, .port = PORT};
    start(0, 0, 2, &server);
    start(1, 0, 2, &server);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rig_connect("127.0.0.1", PUBLISHED, NULL), i);
        assert_int_equal(rig_connect("::1", PUBLISHED, NULL) >= 0, 1);
        rig_connect("127.0.0.1", PUBLISHED, NULL);
    }
    assert_in_range(rig_connect("127.0.0.1", PORT, NULL), 0, 1);
    assert_in_range(rig_connect("127.86.2.1", PORT, NULL), 0, 1);
    assert_int_equal(rig_connect("127.86.2.1", PUBLISHED, NULL), -ECONNREFUSED);
    assert_int_equal(rig_connect("127.77.1.2", PORT, NULL), 1);
    assert_in_range(rig_connect_from_outside(PUBLISHED), 0, 1);
    assert_int_equal(rig_connect_from_outside(PORT), -ECONNREFUSED);
    assert_int_equal(kept_count("listener:"), 0);
    assert_int_equal(kept_count("reserve:"), 1);
    assert_int_equal(heard[0].port, PORT);
}

/* The ring is full when the program listens at last. */
static void a_listener_is_found_when_its_event_was_lost(void **state)
{
    (void)state;
    enum { MORE_THAN_FIT = 6000 };
    publish(0, 0, PUBLISHED, 0);
    assert_int_equal(begin(), 0);
    start(0, 0, 2, &(struct rig_server){.kind = RIG_V4_LOOPBACK, .port = PORT});
    start(1, 0, 2,
          &(struct rig_server){.kind = RIG_DUAL, .port = PORT, .binds_before = MORE_THAN_FIT});
    size_t before = heard_count;
    assert_int_equal(heard[before - 1].port, PORT);
    assert_int_equal(rig_connect("127.77.1.2", PORT, NULL), 1);
    assert_in_range(rig_connect_from_outside(PUBLISHED), 0, 1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(loop_turn(loop, 10), 0);
    assert_int_equal(heard_count, before); /* once */
}

static void the_published_port_may_be_the_programs_own(void **state)
{
    (void)state;
    publish(0, 0, PUBLISHED, 0);
    assert_int_equal(begin(), 0);
    start(0, 0, 2, &(struct rig_server){.kind = RIG_V4, .port = PUBLISHED});
    start(1, 0, 2, &(struct rig_server){.kind = RIG_DUAL, .port = PUBLISHED});
    assert_in_range(rig_connect("127.0.0.1", PUBLISHED, NULL), 0, 1);
    assert_in_range(rig_connect_from_outside(PUBLISHED), 0, 1);
    /* Another service of that port: at home. */
    start(2, 1, 2, &(struct rig_server){.kind = RIG_V4, .port = PUBLISHED});
    assert_in_range(rig_connect("127.0.0.1", PUBLISHED, NULL), 0, 1);
    assert_int_equal(rig_connect("127.86.2.2", PUBLISHED, NULL), 2);
}

static void a_service_may_be_published_as_it_stands(void **state)
{
    (void)state;
    services[0].publish = true;
    assert_int_equal(begin(), 0);
    start(0, 0, 2, &(struct rig_server){.kind = RIG_V4, .port = PORT});
    assert_int_equal(rig_connect_from_outside(PORT), 0);
    /* At loopback only, it stays there. */
    services[1].publish = true;
    start(1, 1, 2, &(struct rig_server){.kind = RIG_V4_LOOPBACK, .port = PORT + 1});
    assert_int_equal(rig_connect("127.0.0.1", PORT + 1, NULL), 1);
    assert_int_equal(rig_connect_from_outside(PORT + 1), -ECONNREFUSED);
}

static int stranger_listens(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void a_taken_port_is_named(void **state)
{
    (void)state;
    int stranger = stranger_listens(PUBLISHED);
    char path[128];
    struct stat unused;
    publish(0, 0, PUBLISHED, 0);
    assert_int_equal(begin(), -EADDRINUSE);
    close(stranger);
    assert_non_null(strstr(why, "tcp:8080"));
    snprintf(path, sizeof path, "%s/enginx", rig->bpf_mount);
    assert_int_equal(stat(path, &unused), -1); /* nothing stays */
}

static void users_of_a_service_are_led_to_its_home(void **state)
{
    (void)state;
    static const uint32_t uses[] = {1};
    services[0].uses = uses;
    services[0].uses_count = 1;
    services[0].user = "nobody"; /* two users: both at home */
    services[2].user = "nobody";
    assert_int_equal(begin(), 0);
    struct rig_server server = {.kind = RIG_V4, .port = PORT};
    start(2, 2, 2, &(struct rig_server){.kind = RIG_V4, .port = PORT, .uid = NOBODY});
    start(1, 1, 2, &server);
    start(0, 0, 2, &(struct rig_server){.kind = RIG_V4_LOOPBACK, .port = 4000, .uid = NOBODY});
    assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), 2); /* the first has the plain port */
    assert_int_equal(rig_instance_connects(&instances[0], "127.0.0.1", PORT), 1);
    assert_int_equal(rig_instance_connects(&instances[0], "::1", PORT), 1);
}

/* A client that connects and reads for as long as the program is away. */
static pid_t waiting_client(int *ret_report)
{
    int report[2];
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    pid_t client = fork();
    if (client == 0) {
        /* No duplicate of a listener may stay here, or it would never close. */
        close_range(3, (unsigned)report[1] - 1, 0);
        close_range((unsigned)report[1] + 1, ~0u, 0);
        int fd = -1;
        char byte;
        int who = rig_connect("127.0.0.1", PORT, &fd);
        if (write(report[1], &who, sizeof who) != (ssize_t)sizeof who)
            _exit(1);
        recv(fd, &byte, 1, 0); /* the connection is open until we are killed */
        _exit(0);
    }
    close(report[1]);
    *ret_report = report[0];
    return client;
}

static void client_end(pid_t client)
{
    kill(client, SIGKILL);
    waitpid(client, NULL, 0);
}

static void counts_wait(int64_t expected, uint64_t expected_total)
{
    int64_t live = -1;
    uint64_t total = 0;
    for (int waited = 0; waited < WITHIN_MS; waited += 10) {
        assert_true(steering->operations->counts(steering, 0, &live, &total));
        if (live == expected && total == expected_total)
            return;
        usleep(10000);
    }
    fail_msg("%ld connections of %lu, not %ld of %lu", (long)live, (unsigned long)total,
             (long)expected, (unsigned long)expected_total);
}

static void dies_and_comes_back(const struct rig_server *server)
{
    int report[3];
    pid_t clients[3];
    assert_int_equal(kept_count("listener:"), 1);
    rig_instance_kill(&instances[0]);
    rotate(0); /* weight 0: before or after `gone`, it must not matter */
    steering->operations->gone(steering, 0, true);
    for (int i = 0; i < 3; i++)
        clients[i] = waiting_client(&report[i]);
    usleep(300000);
    start(0, 0, 1, server);
    for (int i = 0; i < 3; i++) {
        int who = -1;
        assert_int_equal(read(report[i], &who, sizeof who), sizeof who);
        assert_int_equal(who, 0);
        close(report[i]);
    }
    counts_wait(3, 3); /* they are its own, as any */
    for (int i = 0; i < 3; i++)
        client_end(clients[i]);
    counts_wait(0, 3);
}

static void connections_wait_for_the_only_instance(void **state)
{
    (void)state;
    assert_int_equal(begin(), 0);
    struct rig_server server = {.kind = RIG_V4, .port = PORT};
    start(0, 0, 1, &server);
    for (int i = 0; i < 5; i++) /* more often than old starts are remembered */
        dies_and_comes_back(&server);
    assert_int_equal(kept_count("listener:"), 1);
    /* For good: its port refuses. */
    rig_instance_kill(&instances[0]);
    steering->operations->gone(steering, 0, false);
    assert_int_equal(kept_count("listener:"), 0);
    assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), -ECONNREFUSED);
}

/* Workers that are replaced: what waits in the listener of one that has gone comes to the others.
 */
static void a_listener_that_its_program_closed_is_closed(void **state)
{
    (void)state;
    enum { CLIENTS = 12 };
    int report[CLIENTS];
    pid_t clients[CLIENTS];
    assert_int_equal(begin(), 0);
    start(0, 0, 1, &(struct rig_server){.kind = RIG_V4, .port = PORT, .workers = 2});
    for (int waited = 0; waited < WITHIN_MS && kept_count("listener:") < 2; waited += 10)
        loop_turn(loop, 10);
    assert_int_equal(kept_count("listener:"), 2);
    rig_instance_closes(&instances[0]);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = waiting_client(&report[i]);
    for (int waited = 0; waited < WITHIN_MS && kept_count("listener:") > 1; waited += 10)
        loop_turn(loop, 10);
    assert_int_equal(kept_count("listener:"), 1);
    for (int i = 0; i < CLIENTS; i++) {
        int who = -1;
        assert_int_equal(read(report[i], &who, sizeof who), sizeof who);
        assert_int_equal(who, 0);
        client_end(clients[i]);
        close(report[i]);
    }
}

static void what_is_kept_follows_the_number_wanted(void **state)
{
    (void)state;
    assert_int_equal(begin(), 0);
    struct rig_server server = {.kind = RIG_V4, .port = PORT};
    start(0, 0, 1, &server);
    assert_int_equal(kept_count("listener:"), 1);
    steering->operations->wanted(steering, 0, 2);
    assert_int_equal(kept_count("listener:"), 0);
    start(1, 0, 2, &server);
    steering->operations->wanted(steering, 0, 1);
    assert_int_equal(kept_count("listener:"), 2);
    rig_instance_kill(&instances[1]);
    steering->operations->gone(steering, 1, false);
    assert_int_equal(kept_count("listener:"), 1);
    steering->operations->wanted(steering, 0, 0); /* and now it can be drained */
    rig_instance_kill(&instances[0]);
    rotate(0);
    assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), -ECONNREFUSED);
}

/* Another supervisor comes, and finds what one that is gone has left. */
static void supervisor_comes(uint32_t slots)
{
    heard_count = 0;
    assert_int_equal(begin(), 0);
    assert_true(adopted);
    for (uint32_t slot = 0; slot < slots; slot++)
        assert_int_equal(steering->operations->prepare(steering, &members[slot]), 0);
    for (int i = 0; i < KEPT_MAX; i++)
        if (keeping[i].name[0])
            assert_true(steering->operations->found(steering, keeping[i].name,
                                                    fcntl(keeping[i].fd, F_DUPFD_CLOEXEC, 3)));
    for (uint32_t slot = 0; slot < slots; slot++)
        assert_int_equal(steering->operations->started(steering, slot, -1), 0);
    for (uint32_t slot = 0; slot < slots; slot++)
        turn_until_heard(slot);
}

static void a_new_supervisor_finds_everything(void **state)
{
    (void)state;
    publish(0, 0, PUBLISHED, 0);
    assert_int_equal(begin(), 0);
    assert_false(adopted);
    struct rig_server server = {.kind = RIG_DUAL, .port = PORT};
    start(0, 0, 1, &server);
    struct rig_server datagrams = {.kind = RIG_UDP, .port = PORT};
    start(1, 1, 1, &datagrams);
    uint32_t block;
    uint32_t again;
    assert_int_equal(steering->operations->block(steering, 2, UINT32_MAX, &block), 0);
    steering->operations->end(steering, true);
    steering = NULL;
    assert_int_equal(rig_connect("127.0.0.1", PUBLISHED, NULL), 0);
    assert_int_equal(rig_ask(-1, "127.0.0.1", PORT), 1);

    supervisor_comes(2);
    assert_int_equal(kept_count("listener:"), 1);
    assert_int_equal(heard_count, 2);
    rotate(0);
    rotate(1);
    assert_int_equal(steering->operations->block(steering, 1, UINT32_MAX, &again), 0);
    assert_int_not_equal(again, block);
    assert_int_equal(steering->operations->block(steering, 2, block, &again), 0);
    assert_int_equal(again, block);
    assert_int_equal(rig_connect_from_outside(PUBLISHED), 0);
    assert_int_equal(rig_connect_from_outside(PORT), -ECONNREFUSED);
    assert_int_equal(rig_ask(-1, "127.0.0.1", PORT), 1);
    dies_and_comes_back(&server);
}

static void homes_of_other_clusters_are_left_alone(void **state)
{
    (void)state;
    struct steering *first;
    assert_int_equal(begin(), 0);
    first = steering;
    for (uint32_t i = 0; i < SERVICES; i++)
        assert_int_equal(first->operations->home(first, i), homes[i]);
    topology.name = "another";
    assert_int_equal(begin(), 0);
    assert_int_equal(steering->operations->home(steering, 0), HOME_FIRST + 3);
    assert_int_equal(steering->operations->home(steering, 1), HOME_FIRST + 4);
    uint32_t block;
    uint32_t other;
    assert_int_equal(first->operations->block(first, 3, 7, &block), 0);
    assert_int_equal(block, 7);
    assert_int_equal(steering->operations->block(steering, 1, 8, &other), 0);
    assert_int_equal(other, 0);
    first->operations->end(first, false);
}

static void every_balance_reaches_everybody(void **state)
{
    (void)state;
    static const uint32_t weights[] = {1, 1, 1};
    static const enum balance_policy policies[] = {BALANCE_LEAST, BALANCE_ROUND_ROBIN,
                                                   BALANCE_RANDOM, BALANCE_WEIGHTED};
    services[0].weights = weights;
    services[0].weight_count = 3;
    assert_int_equal(begin(), 0);
    struct rig_server server = {.kind = RIG_V4, .port = PORT};
    for (uint32_t slot = 0; slot < 3; slot++)
        start(slot, 0, 3, &server);
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        int counts[3] = {0};
        /* Under `least` a connection whose end the server has not seen yet counts still. */
        bool exact = policies[i] == BALANCE_ROUND_ROBIN || policies[i] == BALANCE_WEIGHTED;
        services[0].balance = policies[i];
        rotate(0);
        for (int k = 0; k < 90; k++)
            counts[rig_connect("127.0.0.1", PORT, NULL)]++;
        for (int k = 0; k < 3; k++)
            assert_in_range(counts[k], exact ? 30 : 5, exact ? 30 : 80);
    }
    services[0].balance = BALANCE_HASH;
    rotate(0);
    int who = rig_connect("127.0.0.1", PORT, NULL);
    for (int k = 0; k < 20; k++)
        assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), who);
}

/* In place of the gateway: answers every connection with `GATEWAY`. */
static pid_t gateway_listens(int *ret_fd)
{
    struct sockaddr_in6 at = {
        .sin6_family = AF_INET6,
        .sin6_addr = {.s6_addr = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}}};
    int off = 0;
    *ret_fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(*ret_fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    assert_int_equal(bind(*ret_fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(*ret_fd, 16), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        char byte = GATEWAY;
        int client = accept(*ret_fd, NULL, NULL);
        if (write(client, &byte, 1) != 1)
            _exit(1);
        close(client);
    }
}

static void what_is_the_gateways_reaches_its_socket(void **state)
{
    (void)state;
    static const uint32_t uses[] = {0};
    services[1].uses = uses;
    services[1].uses_count = 1;
    publish(0, 0, PORT, 0);
    listeners[0].path = LISTENER_GATEWAY_HTTP;
    assert_int_equal(begin(), 0);
    int fd;
    pid_t gateway = gateway_listens(&fd);
    assert_int_equal(steering->operations->gate(steering, &listeners[0], fd), 0);
    close(fd);
    /* The program has the same port, and so has another service's; neither is in the way. */
    start(0, 0, 2, &(struct rig_server){.kind = RIG_DUAL, .port = PORT, .uid = NOBODY});
    start(1, 0, 2, &(struct rig_server){.kind = RIG_V4_LOOPBACK, .port = PORT, .uid = NOBODY});
    start(2, 1, 2, &(struct rig_server){.kind = RIG_V4, .port = PORT});
    assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), GATEWAY);
    assert_int_equal(rig_connect("::1", PORT, NULL), GATEWAY);
    assert_int_equal(rig_connect_from_outside(PORT), GATEWAY);
    for (int slot = 0; slot < 3; slot++) {
        char own[ADDRESS_TEXT_BYTES];
        address_format(members[slot].address, own);
        assert_int_equal(rig_connect(own, PORT, NULL), slot);
    }
    assert_in_range(rig_connect("127.86.2.1", PORT, NULL), 0, 1);
    assert_int_equal(rig_connect("127.86.2.2", PORT, NULL), 2);
    start(3, 1, 2, &(struct rig_server){.kind = RIG_V4, .port = PORT + 1});
    assert_in_range(rig_instance_connects(&instances[3], "127.0.0.1", PORT), 0, 1);
    kill(gateway, SIGKILL);
    waitpid(gateway, NULL, 0);
    assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), -ECONNREFUSED);
}

static void datagrams_are_answered_from_the_instances_own_address(void **state)
{
    (void)state;
    publish(0, 0, PORT, 0);
    listeners[0].path = LISTENER_RELAY;
    listeners[0].protocol = PROTOCOL_UDP;
    assert_int_equal(begin(), 0);
    start(0, 0, 2, &(struct rig_server){.kind = RIG_UDP, .port = PORT, .uid = NOBODY});
    start(1, 0, 2, &(struct rig_server){.kind = RIG_UDP, .port = PORT + 1}); /* port=3001 */
    start(2, 1, 2, &(struct rig_server){.kind = RIG_UDP, .port = PORT});     /* a port of its own */
    for (int slot = 0; slot < 3; slot++) {
        char own[ADDRESS_TEXT_BYTES];
        address_format(members[slot].address, own);
        assert_int_equal(rig_ask(-1, own, (uint16_t)(PORT + (slot == 1))), slot);
    }
}

/* The only instance drains: it is in rotation no more, and lives. */
static void drain_only(bool drains)
{
    struct rotation_member member = {.slot = 0, .weight = !drains};
    uint32_t number = 1;
    if (drains)
        steering->operations->hold(steering, 0);
    assert_int_equal(steering->operations->rotate(steering, 0, &member, &number, 1), 0);
}

/* Nobody answers them; those from `first` on come now. */
static void all_wait(pid_t *clients, int *reports, int first, int count)
{
    for (int i = first; i < count; i++)
        clients[i] = waiting_client(&reports[i]);
    usleep(100000);
    for (int i = 0; i < count; i++) {
        int who;
        fcntl(reports[i], F_SETFL, O_NONBLOCK);
        assert_int_equal(read(reports[i], &who, sizeof who), -1);
        assert_int_equal(errno, EAGAIN);
        fcntl(reports[i], F_SETFL, 0);
    }
}

/* … but the instance goes on with the connection that it has. */
static void two_wait(int open, pid_t clients[2], int reports[2])
{
    char byte = 'x';
    all_wait(clients, reports, 0, 2);
    assert_int_equal(send(open, &byte, 1, MSG_NOSIGNAL), 1);
    assert_int_equal(recv(open, &byte, 1, 0), 1);
}

static void all_end(pid_t *clients, int *reports, int count)
{
    for (int i = 0; i < count; i++) {
        int who = -1;
        assert_int_equal(read(reports[i], &who, sizeof who), sizeof who);
        assert_int_equal(who, 0);
        close(reports[i]);
        client_end(clients[i]);
    }
}

static void connections_wait_while_the_only_instance_drains(void **state)
{
    (void)state;
    assert_int_equal(begin(), 0);
    const struct rig_server servers[] = {{.kind = RIG_V4, .port = PORT, .uid = NOBODY},
                                         {.kind = RIG_DUAL, .port = PORT},
                                         {.kind = RIG_V4_LOOPBACK, .port = PORT, .workers = 2}};
    for (size_t i = 0; i < 3; i++) {
        pid_t clients[2];
        int reports[2];
        int open = -1;
        start(0, 0, 1, &servers[i]);
        assert_int_equal(rig_connect("127.0.0.1", PORT, &open), 0);
        /* It is started again. */
        drain_only(true);
        two_wait(open, clients, reports);
        counts_wait(1, 1);
        rig_instance_kill(&instances[0]);
        steering->operations->gone(steering, 0, true);
        start(0, 0, 1, &servers[i]);
        all_end(clients, reports, 2);
        close(open);
        /* It comes back as it is. */
        assert_int_equal(rig_connect("127.0.0.1", PORT, &open), 0);
        drain_only(true);
        two_wait(open, clients, reports);
        drain_only(false);
        all_end(clients, reports, 2);
        close(open);
        /* Further ones are wanted. */
        assert_int_equal(rig_connect("127.0.0.1", PORT, &open), 0);
        drain_only(true);
        two_wait(open, clients, reports);
        steering->operations->wanted(steering, 0, 2);
        all_end(clients, reports, 2);
        close(open);
        assert_int_equal(kept_count("listener:"), 0);
        rig_instance_kill(&instances[0]);
        steering->operations->gone(steering, 0, false);
    }
}

static void connections_wait_until_the_check_is_good(void **state)
{
    (void)state;
    services[0].check = CHECK_HTTP;
    assert_int_equal(begin(), 0);
    struct rig_server server = {.kind = RIG_DUAL, .port = PORT};
    start(0, 0, 1, &server);
    for (int crashes = 0; crashes < 2; crashes++) {
        struct rotation_member member = {.slot = 0};
        uint32_t number = 1;
        pid_t clients[3];
        int reports[3];
        rig_instance_kill(&instances[0]);
        rotate(0);
        steering->operations->gone(steering, 0, true);
        all_wait(clients, reports, 0, 2);
        prepare(0, 0, 1);
        rig_instance_start(&instances[0], &server, 0);
        assert_int_equal(instances[0].error, 0);
        assert_int_equal(steering->operations->started(steering, 0, -1), 0);
        turn_until_heard(0);
        assert_int_equal(steering->operations->rotate(steering, 0, &member, &number, 1), 0);
        all_wait(clients, reports, 2, 3);
        assert_int_equal(rig_connect("127.77.1.1", PORT, NULL), 0); /* its check */
        if (crashes) {
            steering->operations->end(steering, true);
            supervisor_comes(1);
        }
        rotate(0);
        all_end(clients, reports, 3);
        assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), 0);
        assert_int_equal(kept_count("listener:"), 1);
    }
}

static int tests(struct rig *with)
{
    rig = with;
#define steering_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest all[] = {
        steering_test(ports_are_learnt_and_published),
        steering_test(a_listener_is_found_when_its_event_was_lost),
        steering_test(the_published_port_may_be_the_programs_own),
        steering_test(a_service_may_be_published_as_it_stands),
        steering_test(a_taken_port_is_named),
        steering_test(users_of_a_service_are_led_to_its_home),
        steering_test(connections_wait_for_the_only_instance),
        steering_test(connections_wait_while_the_only_instance_drains),
        steering_test(connections_wait_until_the_check_is_good),
        steering_test(a_listener_that_its_program_closed_is_closed),
        steering_test(what_is_kept_follows_the_number_wanted),
        steering_test(a_new_supervisor_finds_everything),
        steering_test(homes_of_other_clusters_are_left_alone),
        steering_test(every_balance_reaches_everybody),
        steering_test(what_is_the_gateways_reaches_its_socket),
        steering_test(datagrams_are_answered_from_the_instances_own_address),
    };
    return cmocka_run_group_tests_name("steering-bpf", all, NULL, NULL);
}

int main(void)
{
    return rig_run(tests);
}
