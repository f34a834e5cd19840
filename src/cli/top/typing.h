/* A line of text that is typed: UTF-8, of which keys add and take away whole characters. Pure. */
#pragma once

#include <stddef.h>

/* Adds the key's character, where it is one and `size` bytes have room for it and the closing 0. */
void typing_add(char *line, size_t size, unsigned key);
/* Takes the last character away, if there is one. */
void typing_erase(char *line);
