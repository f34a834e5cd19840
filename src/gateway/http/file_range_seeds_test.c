/* Replays the fuzz target's seeds, so that what fuzzing once found stays found without it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/scoped.h"

enum { SEEDS_MIN = 20, SEED_BYTES_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void seed_replay(const char *path)
{
    scoped_file FILE *file = fopen(path, "re");
    assert_non_null(file);
    /* Exactly as large as the seed: a look behind its end is one behind an allocation. */
    uint8_t *bytes = malloc(SEED_BYTES_MAX);
    size_t size = fread(bytes, 1, SEED_BYTES_MAX, file);
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, bytes, size);
    free(bytes);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static void all_seeds_give_parts_of_the_file(void **state)
{
    (void)state;
    const char *folder = getenv("SEEDS");
    assert_non_null(folder);
    scoped_dir DIR *directory = opendir(folder);
    assert_non_null(directory);
    size_t count = 0;
    for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
        if (entry->d_name[0] == '.')
            continue;
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        seed_replay(path);
        count++;
    }
    assert_true(count >= SEEDS_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_seeds_give_parts_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
