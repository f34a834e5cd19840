#include "supervise/records.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/records-XXXXXX";
static char path[64];

static int folder_make(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/records", folder);
    return 0;
}

static int folder_remove(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void what_was_written_is_there_after_a_crash_and_after_growing(void **state)
{
    (void)state;
    struct records *records = NULL;
    bool fresh = false;
    assert_int_equal(records_open(path, 4, 8, &records, &fresh), 0);
    assert_true(fresh);
    struct service_record *service = records_service_take(records, "api");
    service->wanted = 3;
    struct instance_record *instance = records_instance(records, 7);
    snprintf(instance->service, sizeof instance->service, "api");
    instance->pid = 4711;
    records_close(records); /* no more than a crash does: stores are in the file already */

    assert_int_equal(records_open(path, 100, 200, &records, &fresh), 0);
    assert_false(fresh);
    assert_int_equal(records_services_max(records), 100);
    assert_int_equal(records_slots_max(records), 200);
    assert_int_equal(records_service_find(records, "api")->wanted, 3);
    assert_int_equal(records_instance(records, 7)->pid, 4711);
    assert_string_equal(records_instance(records, 199)->service, "");
    records_close(records);

    assert_int_equal(records_open(path, 1, 1, &records, &fresh), 0);
    assert_int_equal(records_slots_max(records), 200);
    records_close(records);
}

static void names_are_taken_once_until_it_is_full(void **state)
{
    (void)state;
    unlink(path);
    struct records *records = NULL;
    bool fresh = false;
    assert_int_equal(records_open(path, 2, 1, &records, &fresh), 0);
    struct service_record *first = records_service_take(records, "a");
    assert_ptr_equal(records_service_take(records, "a"), first);
    assert_non_null(records_service_take(records, "b"));
    assert_null(records_service_take(records, "c"));
    assert_null(records_service_find(records, "c"));
    records_close(records);
}

static void a_file_that_is_not_ours_is_begun_anew(void **state)
{
    (void)state;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, "what is this? what is this? what is this?", 41), 41);
    close(fd);
    struct records *records = NULL;
    bool fresh = false;
    assert_int_equal(records_open(path, 2, 2, &records, &fresh), 0);
    assert_true(fresh);
    assert_string_equal(records_service(records, 0)->name, "");
    records_close(records);
}

static void the_number_of_one_that_is_gone_is_not_soon_anothers(void **state)
{
    (void)state;
    struct records *records = NULL;
    bool fresh;
    unlink(path);
    assert_int_equal(records_open(path, 4, 4, &records, &fresh), 0);
    struct service_record *one = records_service_take(records, "one");
    assert_int_equal(records_service_number(records, one), 0);
    assert_int_equal(records_service_number(records, records_service_take(records, "two")), 1);
    records_service_drop(records, one);
    assert_null(records_service_find(records, "one"));
    assert_non_null(records_service_find(records, "two"));
    assert_int_equal(records_service_number(records, records_service_take(records, "three")), 2);
    assert_int_equal(records_service_number(records, records_service_take(records, "four")), 3);
    assert_int_equal(records_service_number(records, records_service_take(records, "five")), 0);
    assert_null(records_service_take(records, "six"));
    records_close(records);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_there_after_a_crash_and_after_growing),
        cmocka_unit_test(names_are_taken_once_until_it_is_full),
        cmocka_unit_test(a_file_that_is_not_ours_is_begun_anew),
        cmocka_unit_test(the_number_of_one_that_is_gone_is_not_soon_anothers),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
