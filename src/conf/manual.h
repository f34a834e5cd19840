/* enginx.conf(5), from the directive table: the manual page in man(7)'s macros, for the build. */
#pragma once

#include <stdio.h>

/* 0, or -ENOMEM. */
int manual_write(FILE *out);
