#include "topology/parse_fixture.h"

#define SERVICES "service a { run a; }\n"
#define SITE(block)                                                                                \
    "cache pages; cache other memory=8m object=1m;\n" SERVICES "listen 80 http {\n" block "\n}"

static const struct route_cache *cache_of(const struct topology *topology, size_t route)
{
    return topology->listeners[0].site->hosts[0].routes[route].cache;
}

static void a_cache_has_its_bounds(void **state)
{
    (void)state;
    struct topology *topology = good(SITE("route / -> a;"));
    assert_int_equal(topology->cache_count, 2);
    assert_string_equal(topology->caches[0].name, "pages");
    assert_int_equal(topology->caches[0].memory_bytes, 64 << 20);
    assert_int_equal(topology->caches[0].object_bytes, 8 << 20);
    assert_int_equal(topology->caches[1].memory_bytes, 8 << 20);
    assert_int_equal(topology->caches[1].object_bytes, 1 << 20);
    assert_null(cache_of(topology, 0));
    topology_free(topology);
}

static void a_route_says_what_is_kept(void **state)
{
    (void)state;
    struct topology *topology = good(SITE(
        "route ~^/(a|b)$ -> a { cache other ttl=10m statuses=200,404 key=\"$host$1\" "
        "bypass=$cookie.s "
        "bypass=$arg.x stale=1h refresh=30s lock=2s clients=obey purge=10.0.0.0/8 purge=all; }"));
    const struct route_cache *cache = cache_of(topology, 0);
    assert_int_equal(cache->store, 1);
    assert_int_equal(cache->ttl_ms, 600000);
    assert_int_equal(cache->statuses[0], 200);
    assert_int_equal(cache->statuses[1], 404);
    assert_int_equal(cache->statuses[2], 0);
    assert_string_equal(cache->key, "${host}${1}");
    assert_string_equal(cache->bypass[0], "${cookie.s}");
    assert_string_equal(cache->bypass[1], "${arg.x}");
    assert_null(cache->bypass[2]);
    assert_int_equal(cache->stale_ms, 3600000);
    assert_int_equal(cache->refresh_ms, 30000);
    assert_int_equal(cache->lock_ms, 2000);
    assert_true(cache->obey);
    assert_int_equal(cache->purger_count, 2);
    assert_int_equal(cache->purgers[0].length, 104);
    assert_int_equal(cache->purgers[1].length, 0);
    topology_free(topology);
}

static void it_holds_for_what_is_inside(void **state)
{
    (void)state;
    struct topology *topology =
        good(SITE("cache pages; route /1 -> a; route /2 -> a { cache other; }"
                  "route /3 -> a { cache off; } route /4 { respond 200; }"));
    const struct route_cache *cache = cache_of(topology, 0);
    assert_int_equal(cache->store, 0);
    assert_int_equal(cache->ttl_ms, 0);
    assert_int_equal(cache->statuses[0], 200);
    assert_null(cache->key);
    assert_int_equal(cache->stale_ms, 0);
    assert_int_equal(cache->lock_ms, 5000);
    assert_false(cache->obey);
    assert_int_equal(cache_of(topology, 1)->store, 1);
    assert_null(cache_of(topology, 2));
    assert_null(cache_of(topology, 3)); /* an answer of our own needs none */
    topology_free(topology);
    topology = good("cache pages;" SERVICES "listen 80 http -> a { cache pages; }");
    assert_non_null(cache_of(topology, 0));
    topology_free(topology);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } wrong[] = {
        {"cache off;", "error: no cache is called `off`: that turns caching off"},
        {"cache a; cache a;", "error: there are two caches called `a`"},
        {"cache a memory=1m object=2m;", "error: one answer may not be larger than the cache"},
        {SITE("cache page; route / -> a;"), "hint: did you mean `pages`?"},
        {SITE("cache pages statuses=200,206; route / -> a;"),
         "error: `206` is no status of an answer that can be kept"},
        {SITE("cache pages statuses=200,x; route / -> a;"),
         "error: `x` is no status of an answer that can be kept"},
        {SITE("cache pages statuses=2000; route / -> a;"),
         "error: `2000` is no status of an answer that can be kept"},
        {SITE("route ~^/(a)$ -> a { cache pages key=$2; }"),
         "error: `$2` has no value: the regular expression has 1 `(…)`"},
        {SITE("route / { cache pages; respond 200; }"),
         "error: `cache` is for requests that a service gets"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        bad(wrong[i].text, wrong[i].said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cache_has_its_bounds),
        cmocka_unit_test(a_route_says_what_is_kept),
        cmocka_unit_test(it_holds_for_what_is_inside),
        cmocka_unit_test(what_is_wrong_is_said),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(said);
    return failed;
}
