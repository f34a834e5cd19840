/* The supervisor's companions: the keeper and the logger. Both are started with it, and again when
 * they die; what the keeper held is put again. While one is missing the work goes on: output is not
 * logged, and a crash of the supervisor would lose what the keeper should have held. */
#pragma once

#include <stdbool.h>

struct supervisor;

/* 0 or -errno: at the start a missing companion is an error, later it is tried again. Descriptors
 * that the keeper still held are remembered in supervisor->found. */
int companions_start(struct supervisor *supervisor);
/* `leave`: the keeper goes on holding. */
void companions_end(struct supervisor *supervisor, bool leave);

/* What the steering wants kept (steering_callbacks). */
void companions_keep(struct supervisor *supervisor, const char *name, int fd);
void companions_forget(struct supervisor *supervisor, const char *name);

/* A descriptor of that name that the keeper held before; the caller's, who should keep it again.
 * -1: none. Until companions_settle_found. */
int companions_take_found(struct supervisor *supervisor, const char *name);
/* What the keeper held before: handed to the steering, or closed. */
void companions_settle_found(struct supervisor *supervisor);
