/* The language's reference, from the directive table and nothing else: for `enginx help`, for
 * docs/reference.md, for the shell. Regenerate the page with `enginx help --markdown`, or with
 * `ninja -C build reference`. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

/* Everything about one directive (in each context where it means something else). 0, or -ENOENT
 * with the nearest name printed instead. */
int reference_help(FILE *out, const char *directive, bool colour);
/* All directives, one line each, by context. */
void reference_list(FILE *out);
void reference_markdown(FILE *out);
/* The names of all directives of this version, one a line, for shell completion. */
void reference_completion(FILE *out);
