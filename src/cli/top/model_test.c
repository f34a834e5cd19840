#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/top/arrange.h"

enum { WALL_MS = 1767323045, ROWS = 64 }; /* 2026-01-02T03:04:05Z in seconds */

/* Of an instance: its number, state, and what else is said of it. */
#define INSTANCE(id, state, more)                                                                  \
    "{'id':" id ",'state':'" state "','since':'2026-01-02T03:04:00Z','restarts':1," more "}"

#define WEB_1                                                                                      \
    INSTANCE("1", "up",                                                                            \
             "'cpu_percent':10,'memory_bytes':100,'connections':2,'requests_total':60,"            \
             "'response_seconds_total':1.0,'connections_total':5")
#define WEB_2                                                                                      \
    INSTANCE("2", "up",                                                                            \
             "'cpu_percent':30,'memory_bytes':50,'connections':null,'requests_total':40,"          \
             "'reason':'its check fails','healthy':false")
#define WEB_10 INSTANCE("10", "draining", "'cpu_percent':20,'memory_bytes':70")
#define DB_1                                                                                       \
    INSTANCE("1", "up",                                                                            \
             "'cpu_percent':50,'memory_bytes':500,'connections':1,'connections_total':10,"         \
             "'requests_total':0")

static const char first[] =
    "{'cluster':'shop','version':'0.1.0','generation':3,'pid':7,'since':'2026-01-02T03:00:05Z',"
    "'logs':'/x','quota':{'memory_bytes':1000,'cpu_percent':null},'services':["
    "{'name':'web','wanted':3,'requests_total':100,'errors_total':4,"
    "'latency_ms':{'p50':1.5,'p95':2.5,'p99':3.5},'instances':[" WEB_1 "," WEB_2 "," WEB_10 "]},"
    "{'name':'db','wanted':1,'requests_total':0,'instances':[" DB_1 "]}],"
    "'jobs':[{'name':'report','running':false,'next':null,'history':[{'ok':false,'exit':'exit 3',"
    "'begin':'2026-01-02T03:03:05Z'}]}],"
    "'listeners':[{'name':'tcp:80','path':'direct'}]}";

#define WEB_1_LATER INSTANCE("1", "up", "'requests_total':100,'response_seconds_total':3.0")
#define WEB_2_LATER INSTANCE("2", "up", "'requests_total':5")
#define DB_1_LATER  INSTANCE("1", "up", "'connections_total':30,'requests_total':0")

static const char later[] = "{'services':[{'name':'web','requests_total':200,"
                            "'instances':[" WEB_1_LATER "," WEB_2_LATER "]},"
                            "{'name':'db','requests_total':0,'instances':[" DB_1_LATER "]}]}";

static json_t *status_of(const char *text)
{
    char quoted[8192];
    size_t length = strlen(text);
    assert_true(length < sizeof quoted);
    for (size_t i = 0; i <= length; i++)
        quoted[i] = text[i] == '\'' ? '"' : text[i];
    json_t *status = json_loads(quoted, 0, NULL);
    assert_non_null(status);
    return status;
}

static struct model *model_of(const char *text, const struct model *before, uint64_t at_ms)
{
    json_t *status = status_of(text);
    struct model *model = model_new(status, before, at_ms, (uint64_t)WALL_MS * 1000);
    json_decref(status);
    assert_non_null(model);
    return model;
}

static void test_reading(void **state)
{
    (void)state;
    struct model *model = model_of(first, NULL, 1000);
    assert_int_equal(model->item_count, 8);
    assert_string_equal(model->cluster, "shop");
    assert_true(model->up_seconds == 240 && model->quota_memory == 1000 && isnan(model->quota_cpu));
    assert_true(model->services == 2 && model->instances == 4 && model->instances_up == 2);
    const struct item *web = model_find(model, ITEM_SERVICE, "web");
    assert_string_equal(web->state, "1/3");
    assert_int_equal(web->mood, ITEM_ILL);
    assert_true(web->value[COLUMN_CPU] == 60 && web->value[COLUMN_MEMORY] == 220);
    assert_true(web->value[COLUMN_CONNECTIONS] == 2 && web->value[COLUMN_RESTARTS] == 3);
    assert_true(isnan(web->value[COLUMN_RATE]) && web->value[COLUMN_P95] == 2.5);
    const struct item *second = model_find(model, ITEM_INSTANCE, "web.2");
    assert_string_equal(second->state, "ill");
    assert_string_equal(second->note, "its check fails");
    assert_true(isnan(second->value[COLUMN_CONNECTIONS]) && second->value[COLUMN_SINCE] == 5);
    assert_true(second->parent == web->parent && second->number == 2);
    assert_string_equal(model_find(model, ITEM_JOB, "report")->state, "failed");
    assert_true(model->total[COLUMN_CPU] == 110);
    model_free(model);
}

static void test_breakers(void **state)
{
    (void)state;
    struct model *model =
        model_of("{'services':[{'name':'a','breaker':{'state':'open','opened':1}},"
                 "{'name':'b','breaker':{'state':'half-open'},'scale':{'why':'cpu 90%'}},"
                 "{'name':'c','breaker':{'state':'closed'},'scale':{'why':'cpu 90%'}},"
                 "{'name':'d','breaker':null}]}",
                 NULL, 1000);
    assert_string_equal(model_find(model, ITEM_SERVICE, "a")->note, "its breaker is open");
    assert_int_equal(model_find(model, ITEM_SERVICE, "a")->mood, ITEM_ILL);
    assert_string_equal(model_find(model, ITEM_SERVICE, "b")->note, "its breaker is half open");
    assert_string_equal(model_find(model, ITEM_SERVICE, "c")->note, "cpu 90%");
    assert_int_equal(model_find(model, ITEM_SERVICE, "c")->mood, ITEM_WELL);
    assert_string_equal(model_find(model, ITEM_SERVICE, "d")->note, "");
    model_free(model);
}

static void test_steps_and_who_is_held(void **state)
{
    (void)state;
    struct model *model =
        model_of("{'services':[{'name':'a','instances':["
                 "{'id':1,'state':'preparing','step':'before-start ./migrate'},"
                 "{'id':2,'state':'finishing','step':'after-stop ./tell','reason':'it is scaled'},"
                 "{'id':3,'state':'draining','held':true,'step':null,'status':'well'}]}]}",
                 NULL, 1000);
    assert_string_equal(model_find(model, ITEM_INSTANCE, "a.1")->note, "before-start ./migrate");
    assert_string_equal(model_find(model, ITEM_INSTANCE, "a.2")->note, "it is scaled");
    assert_string_equal(model_find(model, ITEM_INSTANCE, "a.3")->note, "drained by hand");
    model_free(model);
}

static void test_rates(void **state)
{
    (void)state;
    struct model *before = model_of(first, NULL, 1000);
    assert_true(isnan(model_find(before, ITEM_INSTANCE, "web.1")->value[COLUMN_RATE]));
    struct model *model = model_of(later, before, 3000);
    model_free(before);
    const struct item *one = model_find(model, ITEM_INSTANCE, "web.1");
    assert_true(one->value[COLUMN_RATE] == 20); /* 40 more in two seconds */
    assert_true(one->value[COLUMN_MEAN] == 50); /* two seconds for 40 */
    /* A counter that began anew. */
    assert_true(model_find(model, ITEM_INSTANCE, "web.2")->value[COLUMN_RATE] == 2.5);
    /* Nothing came through the gateway: connections. */
    assert_true(model_find(model, ITEM_INSTANCE, "db.1")->value[COLUMN_RATE] == 10);
    assert_true(model_find(model, ITEM_SERVICE, "db")->value[COLUMN_RATE] == 10);
    assert_true(model_find(model, ITEM_SERVICE, "web")->value[COLUMN_RATE] == 50);
    model_free(model);
}

/* Whatever stands there, it is a model. */
static void test_strange_answers(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        "{'services':3,'jobs':{},'listeners':null}",
        "{'services':[1,null,[],{}],'jobs':[7],'listeners':['x']}",
        "{'services':[{'name':5,'wanted':'x','instances':[{'id':-1},{'id':1e300},{}]}]}",
        "{'services':[{'name':'a','instances':[{'id':1,'since':'soon'},{'id':1}]},{'name':'a'}]}",
        "{'generation':-5,'since':'9999-99-99','quota':[]}",
    };
    struct model *before = NULL;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct model *model = model_of(texts[i], before, i * 10);
        size_t rows[ROWS];
        struct arrangement arrangement = {.sort = COLUMN_CPU};
        assert_true(arrange(model, &arrangement, rows) <= model->item_count);
        model_free(before);
        before = model;
    }
    model_free(before);
}

static void assert_rows(const struct model *model, const struct arrangement *arrangement,
                        const char *wanted)
{
    size_t rows[ROWS];
    char text[1024] = "";
    size_t count = arrange(model, arrangement, rows);
    for (size_t i = 0; i < count; i++) {
        strcat(text, i ? " " : "");
        strcat(text, model->items[rows[i]].name);
    }
    assert_string_equal(text, wanted);
}

static void test_orders(void **state)
{
    (void)state;
    struct model *model = model_of(first, NULL, 1000);
    struct arrangement by = {.sort = COLUMN_NAME};
    assert_rows(model, &by, "db db.1 web web.1 web.2 web.10 report");
    by.sort = COLUMN_CPU; /* web has 60, db 50 */
    assert_rows(model, &by, "web web.2 web.10 web.1 db db.1 report");
    by.reversed = true;
    assert_rows(model, &by, "db db.1 web web.1 web.10 web.2 report");
    by.reversed = false;
    by.flat = true;
    assert_rows(model, &by, "db.1 web.2 web.10 web.1 report");
    by.sort = COLUMN_CONNECTIONS; /* unknown ones last, either way round */
    assert_rows(model, &by, "web.1 db.1 web.2 web.10 report");
    by.reversed = true;
    assert_rows(model, &by, "db.1 web.1 web.2 web.10 report");
    by = (struct arrangement){.view = VIEW_LISTENERS};
    assert_rows(model, &by, "tcp:80");
    model_free(model);
}

static void test_filter(void **state)
{
    (void)state;
    struct model *model = model_of(first, NULL, 1000);
    struct arrangement by = {.sort = COLUMN_NAME, .filter = "WEB"};
    assert_rows(model, &by, "web web.1 web.2 web.10");
    strcpy(by.filter, "check f");
    assert_rows(model, &by, "web web.2");
    by.flat = true;
    assert_rows(model, &by, "web.2");
    strcpy(by.filter, "draining");
    assert_rows(model, &by, "web.10");
    strcpy(by.filter, "nobody");
    assert_rows(model, &by, "");
    model_free(model);
}

static void test_folding_stays(void **state)
{
    (void)state;
    struct model *before = model_of(first, NULL, 1000);
    struct arrangement by = {.sort = COLUMN_NAME};
    model_find(before, ITEM_SERVICE, "web")->folded = true;
    assert_rows(before, &by, "db db.1 web report");
    struct model *model = model_of(first, before, 2000);
    model_free(before);
    assert_rows(model, &by, "db db.1 web report");
    model_free(model);
}

static void test_steps_of_sorting(void **state)
{
    (void)state;
    bool shown[COLUMN_COUNT] = {[COLUMN_NAME] = true, [COLUMN_CPU] = true, [COLUMN_ERRORS] = true};
    assert_int_equal(arrange_sort_step(COLUMN_NAME, shown, 1), COLUMN_CPU);
    assert_int_equal(arrange_sort_step(COLUMN_ERRORS, shown, 1), COLUMN_NAME);
    assert_int_equal(arrange_sort_step(COLUMN_NAME, shown, -1), COLUMN_ERRORS);
    assert_int_equal(arrange_sort_step(COLUMN_P50, shown, 1),
                     COLUMN_CPU); /* of one that is hidden */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_breakers),
        cmocka_unit_test(test_steps_and_who_is_held),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_strange_answers),
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_folding_stays),
        cmocka_unit_test(test_steps_of_sorting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
