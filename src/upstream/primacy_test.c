#include "upstream/primacy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct primacy primacy;
static struct claim claims[3];
static struct claim *all[] = {&claims[0], &claims[1], &claims[2]};

static int begin(void **state)
{
    (void)state;
    primacy = (struct primacy){0};
    for (int i = 0; i < 3; i++)
        claims[i] = (struct claim){0};
    return 0;
}

static void says(int who, enum endpoint_role role, uint32_t term)
{
    const struct role_answer answer = {role, term};
    claim_take(&claims[who], role == ROLE_NONE ? NULL : &answer, &primacy);
}

static uint32_t judge(void)
{
    return primacy_judge(&primacy, all, 3);
}

static void nobody_who_does_not_say_so_is_the_primary(void **state)
{
    (void)state;
    assert_int_equal(judge(), PRIMACY_NOBODY);
    says(0, ROLE_REPLICA, 0);
    says(1, ROLE_REPLICA, 0);
    assert_int_equal(judge(), PRIMACY_NOBODY);
    assert_int_equal(primacy_judge(&primacy, NULL, 0), PRIMACY_NOBODY);
    says(2, ROLE_PRIMARY, 0);
    assert_int_equal(judge(), 2);
    all[0] = NULL;
    assert_int_equal(judge(), 2);
    all[0] = &claims[0];
}

static void who_newly_says_so_takes_the_place(void **state)
{
    (void)state;
    says(2, ROLE_PRIMARY, 0);
    says(0, ROLE_PRIMARY, 0);
    assert_int_equal(judge(), 0);
    says(2, ROLE_PRIMARY, 0); /* again, and not newly */
    assert_int_equal(judge(), 0);
    assert_int_equal(claim_role(&claims[0], true), ROLE_PRIMARY);
    assert_int_equal(claim_role(&claims[2], false), ROLE_DEPOSED);
    says(2, ROLE_REPLICA, 0);
    assert_int_equal(claim_role(&claims[2], false), ROLE_REPLICA);
    says(2, ROLE_PRIMARY, 0);
    assert_int_equal(judge(), 2);
}

static void a_higher_term_counts_more_than_being_new(void **state)
{
    (void)state;
    says(0, ROLE_PRIMARY, 1);
    says(1, ROLE_PRIMARY, 2);
    assert_int_equal(judge(), 1);
    says(0, ROLE_NONE, 0);
    says(0, ROLE_PRIMARY, 1); /* it comes back, and knows of nothing */
    assert_int_equal(judge(), 1);
    says(0, ROLE_PRIMARY, 3); /* promoted while it says so */
    assert_int_equal(judge(), 0);
}

static void an_old_term_stays_void_while_anybody_is_known(void **state)
{
    (void)state;
    says(1, ROLE_PRIMARY, 2);
    says(2, ROLE_REPLICA, 0);
    assert_int_equal(judge(), 1);
    says(1, ROLE_NONE, 0);
    says(0, ROLE_PRIMARY, 1);
    assert_int_equal(judge(), PRIMACY_NOBODY);
    says(1, ROLE_PRIMARY, 2);
    assert_int_equal(judge(), 1);
    /* All gone: whatever comes then may be another database. */
    for (int i = 0; i < 3; i++)
        says(i, ROLE_NONE, 0);
    assert_int_equal(judge(), PRIMACY_NOBODY);
    says(0, ROLE_PRIMARY, 1);
    assert_int_equal(judge(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nobody_who_does_not_say_so_is_the_primary, begin),
        cmocka_unit_test_setup(who_newly_says_so_takes_the_place, begin),
        cmocka_unit_test_setup(a_higher_term_counts_more_than_being_new, begin),
        cmocka_unit_test_setup(an_old_term_stays_void_while_anybody_is_known, begin),
    };
    return cmocka_run_group_tests_name("primacy", tests, NULL, NULL);
}
