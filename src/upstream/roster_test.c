#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "upstream/resolved_private.h"
#include "upstream/upstream_rig.h"

static const struct pick any;

static uint16_t port_of(const struct endpoint *endpoint)
{
    const struct sockaddr_in *address = (const void *)&endpoint->address;
    assert_int_equal(address->sin_family, AF_INET);
    assert_int_equal(endpoint->address_length, sizeof *address);
    return ntohs(address->sin_port);
}

static struct endpoint *choose_for(struct rig *rig, const struct pick *pick)
{
    struct endpoint *endpoint = NULL;
    assert_int_equal(upstream_pick(rig->upstream, pick, &endpoint), PICK_DONE);
    return endpoint;
}

/* ---- instances ------------------------------------------------------------------------------ */

static void an_instance_is_an_endpoint(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *endpoint = rig_choose_number(rig, 2);
    const struct sockaddr_in *address = (const void *)&endpoint->address;
    assert_int_equal(ntohl(address->sin_addr.s_addr), 0x7f4d0102);
    assert_int_equal(port_of(endpoint), RIG_PORT);
    assert_int_equal(endpoint->slot, RIG_SLOT + 1);
    assert_int_equal(endpoint->row, RIG_SLOT + 1);
    assert_string_equal(endpoint->name, "api.2");
    assert_null(endpoint->host);
    assert_true(endpoint->listed);
    assert_ptr_equal(endpoint->upstream, rig->upstream);
}

static void a_port_that_is_asked_for_is_used(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1);
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *first = choose_for(rig, &any);
    struct endpoint *other = choose_for(rig, &(struct pick){.port = 9000});
    assert_int_equal(port_of(other), 9000);
    assert_int_equal(port_of(choose_for(rig, &(struct pick){.datagram = true})), RIG_PORT + 1);
    assert_ptr_equal(choose_for(rig, &any), first);
    assert_ptr_equal(choose_for(rig, &(struct pick){.port = 9000}), other);
    assert_ptr_equal(other->tally, first->tally); /* one instance, one row */
}

static void a_stated_port_comes_before_a_learnt_one(void **state)
{
    static const struct service_port ports[] = {{53, PROTOCOL_UDP, false},
                                                {8080, PROTOCOL_TCP, false}};
    struct rig *rig = *state;
    rig_instances(rig, 1);
    rig->service.ports = ports;
    rig->service.port_count = 2;
    rig_start(rig, BALANCE_LEAST);
    assert_int_equal(port_of(choose_for(rig, &any)), 8080);
    assert_int_equal(port_of(choose_for(rig, &(struct pick){.datagram = true})), 53);
}

/* Without BPF the socket of a program that believes in its own port is at the published one. */
static void a_socket_that_was_moved_is_reached_where_it_is(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1);
    struct board_instance *row = rig_instance(rig, 1);
    row->ports[1] = 9000;
    row->moved = 2;
    row->moved_to = 5000;
    rig_start(rig, BALANCE_LEAST);
    assert_int_equal(port_of(choose_for(rig, &any)), RIG_PORT);
    assert_int_equal(port_of(choose_for(rig, &(struct pick){.port = 9000})), 5000);
}

static void an_instance_without_a_port_is_none_until_it_is_learnt(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1);
    rig_instance(rig, 1)->ports[0] = 0;
    rig_start(rig, BALANCE_LEAST);
    assert_int_equal(rig_pick(rig, &any), 0);
    board_write_begin(rig_row(rig));
    rig_instance(rig, 1)->ports[0] = 4000;
    board_write_end(rig_row(rig));
    assert_int_equal(port_of(choose_for(rig, &any)), 4000);
}

static void who_comes_and_goes_moves_nobody_else(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 300);
    rig_start(rig, BALANCE_ROUND_ROBIN);
    static struct endpoint *before[301];
    for (uint32_t number = 1; number <= 300; number++)
        before[number] = rig_choose_number(rig, number);
    rig_hold(rig, before[150]); /* it lives on while somebody holds it */
    rig_restart(rig, 150);
    rig_instances(rig, 299);
    unsigned seen = 0;
    for (uint32_t i = 0; i < 299; i++) {
        struct endpoint *endpoint = rig_choose(rig);
        if (endpoint->number != 150)
            assert_ptr_equal(endpoint, before[endpoint->number]);
        else
            assert_ptr_not_equal(endpoint, before[150]);
        seen += endpoint->number;
    }
    assert_int_equal(seen, 299 * 300 / 2);
    assert_false(before[150]->listed);
    assert_string_equal(before[150]->name, "api.150");
}

static void an_unchanged_board_is_not_read_again(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1);
    rig_start(rig, BALANCE_LEAST);
    assert_int_equal(rig_choose(rig)->weight, 1);
    rig_instance(rig, 1)->weight = 5; /* without a version: nobody sees it */
    assert_int_equal(rig_choose(rig)->weight, 1);
    rig_weight(rig, 1, 6);
    assert_int_equal(rig_choose(rig)->weight, 6);
}

static void new_settings_are_used(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *endpoint = rig_choose(rig);
    static struct service next;
    next = rig->service;
    next.balance = BALANCE_HASH;
    upstream_settle(rig->upstream, NULL, &next);
    assert_ptr_equal(upstream_service(rig->upstream), &next);
    const struct pick pick = {.hash = 77};
    int first = rig_pick(rig, &pick);
    for (int i = 0; i < 10; i++)
        assert_int_equal(rig_pick(rig, &pick), first);
    assert_ptr_equal(rig_choose_number(rig, endpoint->number), endpoint);
}

/* ---- remote endpoints ----------------------------------------------------------------------- */

static struct resolved_address address_of(const char *text, uint16_t port, uint32_t row)
{
    struct resolved_address made = {.length = sizeof(struct sockaddr_in), .row = row};
    struct sockaddr_in *address = (void *)&made.address;
    address->sin_family = AF_INET;
    address->sin_port = htons(port);
    assert_int_equal(inet_pton(AF_INET, text, &address->sin_addr), 1);
    return made;
}

static const struct remote remotes[] = {
    {.host = "one.example", .port = 80, .weight = 1, .text = "one.example:80"},
    {.path = "/run/two", .weight = 2, .text = "unix:/run/two"},
};

static void remote_service(struct rig *rig)
{
    rig->service.gateway.remotes = remotes;
    rig->service.gateway.remote_count = 2;
}

static struct endpoint *remote_choose(struct rig *rig, const char *name)
{
    for (int i = 0; i < 100; i++) {
        struct endpoint *endpoint = rig_choose(rig);
        if (strcmp(endpoint->name, name) == 0)
            return endpoint;
    }
    return NULL;
}

static void addresses_of_a_name_are_endpoints(void **state)
{
    struct rig *rig = *state;
    remote_service(rig);
    rig_start(rig, BALANCE_LEAST);
    assert_int_equal(rig_pick(rig, &any), -1); /* the resolver does not know it yet */
    uint32_t one = resolved_take(rig->resolved, "one.example:80");
    uint32_t two = resolved_take(rig->resolved, "unix:/run/two");
    assert_int_equal(rig_pick(rig, &any), -1); /* asked */
    resolved_write(rig->resolved, one, NULL, 0);
    resolved_write(rig->resolved, two, NULL, 0);
    assert_int_equal(rig_pick(rig, &any), 0); /* failed */

    struct resolved_address addresses[3] = {address_of("10.0.0.1", 80, RIG_SLOTS),
                                            address_of("10.0.0.2", 80, RIG_SLOTS + 1),
                                            address_of("10.0.0.3", 80, RIG_SLOTS + 2)};
    resolved_write(rig->resolved, one, addresses, 2);
    struct resolved_address local = {.row = RIG_SLOTS + 3, .length = sizeof(struct sockaddr_un)};
    struct sockaddr_un *path = (void *)&local.address;
    *path = (struct sockaddr_un){.sun_family = AF_UNIX, .sun_path = "/run/two"};
    resolved_write(rig->resolved, two, &local, 1);
    struct endpoint *first = remote_choose(rig, "10.0.0.1:80");
    struct endpoint *second = remote_choose(rig, "10.0.0.2:80");
    struct endpoint *third = remote_choose(rig, "unix:/run/two");
    assert_true(first && second && third);
    assert_string_equal(first->host, "one.example");
    assert_null(third->host);
    assert_int_equal(third->weight, 2);
    assert_int_equal(first->slot, BOARD_NONE);
    assert_int_equal(second->row, RIG_SLOTS + 1);
    assert_int_not_equal(first->number, second->number);

    resolved_write(rig->resolved, one, addresses + 1, 2); /* the first is gone, one has come */
    assert_null(remote_choose(rig, "10.0.0.1:80"));
    assert_ptr_equal(remote_choose(rig, "10.0.0.2:80"), second);
    assert_non_null(remote_choose(rig, "10.0.0.3:80"));
}

static void a_remote_that_is_ill_gets_nothing(void **state)
{
    struct rig *rig = *state;
    remote_service(rig);
    rig_start(rig, BALANCE_ROUND_ROBIN);
    uint32_t one = resolved_take(rig->resolved, "one.example:80");
    const struct resolved_address addresses[2] = {address_of("10.0.0.1", 80, RIG_SLOTS),
                                                  address_of("10.0.0.2", 80, RIG_SLOTS + 1)};
    resolved_write(rig->resolved, one, addresses, 2);
    struct endpoint *first = remote_choose(rig, "10.0.0.1:80");
    assert_true(endpoint_serves(first));
    assert_true(resolved_ill_set(rig->resolved, one, 0, true));
    assert_false(resolved_ill_set(rig->resolved, one, 0, true));
    assert_false(resolved_ill_set(rig->resolved, one, 2, true));
    for (int i = 0; i < 10; i++)
        assert_string_equal(rig_choose(rig)->name, "10.0.0.2:80");
    assert_false(endpoint_serves(first));
    resolved_ill_set(rig->resolved, one, 1, true);
    resolved_write(rig->resolved, resolved_take(rig->resolved, "unix:/run/two"), NULL, 0);
    assert_int_equal(rig_pick(rig, &any), 0);
    resolved_ill_set(rig->resolved, one, 0, false);
    assert_ptr_equal(rig_choose(rig), first);
}

/* The resolver gave a remote's place to another while an upstream remembers it. */
static void a_place_that_became_anothers_is_noticed(void **state)
{
    struct rig *rig = *state;
    remote_service(rig);
    rig_start(rig, BALANCE_LEAST);
    uint32_t one = resolved_take(rig->resolved, "one.example:80");
    const struct resolved_address addresses[2] = {address_of("10.0.0.1", 80, RIG_SLOTS),
                                                  address_of("10.9.9.9", 80, RIG_SLOTS + 1)};
    resolved_write(rig->resolved, one, addresses, 1);
    assert_string_equal(rig_choose(rig)->name, "10.0.0.1:80");
    resolved_drop(rig->resolved, one);
    char other[32] = "";
    for (unsigned i = 0; i < 100000; i++) { /* until one falls into that place */
        snprintf(other, sizeof other, "else%u.example:80", i);
        uint32_t place = resolved_take(rig->resolved, other);
        if (place == one)
            break;
        resolved_drop(rig->resolved, place);
    }
    assert_int_equal(resolved_find(rig->resolved, other), one);
    resolved_write(rig->resolved, one, addresses + 1, 1);
    assert_int_equal(rig_pick(rig, &any), -1);
    assert_int_equal(resolved_find(rig->resolved, "one.example:80"), UINT32_MAX);
}

static void remotes_are_found_until_all_places_are_taken(void **state)
{
    struct rig *rig = *state;
    char text[32];
    for (unsigned i = 0; i < RESOLVED_REMOTES_MAX; i++) {
        snprintf(text, sizeof text, "host%u:80", i);
        assert_true(resolved_take(rig->resolved, text) < RESOLVED_REMOTES_MAX);
    }
    assert_int_equal(resolved_take(rig->resolved, "one.example:80"), UINT32_MAX);
    uint32_t place = resolved_find(rig->resolved, "host77:80");
    assert_int_equal(resolved_take(rig->resolved, "host77:80"), place);
    resolved_drop(rig->resolved, place);
    for (unsigned i = 0; i < RESOLVED_REMOTES_MAX; i++) {
        snprintf(text, sizeof text, "host%u:80", i);
        assert_true((resolved_find(rig->resolved, text) == UINT32_MAX) == (i == 77));
    }
    assert_int_equal(resolved_take(rig->resolved, "one.example:80"), place);
}

int main(void)
{
#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_begin, rig_end)
    const struct CMUnitTest tests[] = {
        WITH_RIG(an_instance_is_an_endpoint),
        WITH_RIG(a_port_that_is_asked_for_is_used),
        WITH_RIG(a_stated_port_comes_before_a_learnt_one),
        WITH_RIG(a_socket_that_was_moved_is_reached_where_it_is),
        WITH_RIG(an_instance_without_a_port_is_none_until_it_is_learnt),
        WITH_RIG(who_comes_and_goes_moves_nobody_else),
        WITH_RIG(an_unchanged_board_is_not_read_again),
        WITH_RIG(new_settings_are_used),
        WITH_RIG(addresses_of_a_name_are_endpoints),
        WITH_RIG(a_remote_that_is_ill_gets_nothing),
        WITH_RIG(a_place_that_became_anothers_is_noticed),
        WITH_RIG(remotes_are_found_until_all_places_are_taken),
    };
    return cmocka_run_group_tests_name("roster", tests, NULL, NULL);
}
