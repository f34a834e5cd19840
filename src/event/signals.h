/* Signals as events, by signalfd(2). The set is blocked in the calling thread; children must get
 * their mask back before exec (signals_unblock_all). */
#pragma once

#include "event/loop.h"

struct signals;
/* `info` tells number and sender as siginfo_t does. */
typedef void signals_call(void *owner, int signal_number, int sender_pid);

/* `numbers` ends with 0. NULL with errno. */
struct signals *signals_new(struct loop *loop, const int *numbers, signals_call *call,
                            void *owner);
void signals_free(struct signals *signals);

/* Blocks the set until somebody watches it: what arrives meanwhile is kept, and seen by signals_new. */
void signals_block(const int *numbers);

/* For a child between fork and exec: default mask and default dispositions. */
void signals_unblock_all(void);
