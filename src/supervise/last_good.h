/* The last good configuration: the bundle (conf/bundle.h) of the one that was in use when all that
 * it wants was up, on disk, for a start whose file is broken (`enginx up --last-good`). It holds
 * what the configuration was read from, keys too, so nobody else may read it. Written by the
 * supervisor, when a configuration has come to be good; a disk that is full leaves the one before.
 */
#pragma once

struct supervisor;

/* Is the configuration in use one to go back to, and not kept yet? Then it is kept. After changes.
 */
void last_good_look(struct supervisor *supervisor);
