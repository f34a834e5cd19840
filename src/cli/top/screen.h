/* The terminal, by ncurses: shows pages, and gives keys. The library is loaded when a screen is
 * opened, not linked: enginx is one executable for all its processes, and linked it would cost each
 * of them memory. One screen a process; while it is open nobody else may write to the terminal. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cli/top/page.h"

/* Takes standard input and output, which must be a terminal. False, with `why`: there is no
 * library, or the terminal cannot do it. */
bool screen_open(bool colours, char *why, size_t why_size);
/* The terminal as it was before. May be called again, and when none is open. */
void screen_close(void);

/* The terminal's size now; after a SIGWINCH. */
void screen_size(unsigned *ret_width, unsigned *ret_height);
void screen_show(const struct page *page);
/* The next show paints everything anew, whatever others wrote meanwhile. */
void screen_forget(void);
/* The next key that was pressed (cli/top/keys.h); KEY_NONE: none yet. *ret_ended: there will be no
 * more, for the terminal is gone. */
unsigned screen_key(bool *ret_ended);
