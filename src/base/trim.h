/* Gives back memory that was needed to start: heap that is free, and pages of programs and
 * libraries that were read while they were linked and may never be read again. All of enginx's
 * processes are one executable, so each maps the libraries of all; what a process does use comes
 * back from the page cache by itself. To be called once, when a process has settled. */
#pragma once

void memory_trim(void);
