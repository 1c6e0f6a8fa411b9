/* The shim's event loop. */
#ifndef BERTH_SHIM_LOOP_H
#define BERTH_SHIM_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct shim;

/* Makes the descriptors the loop waits on, and blocks every signal but those that a fault raises. */
must_check int loop_open(struct shim *s, struct rt_error *err);

/* Serves events until done(s) or until CLOCK_BOOTTIME reaches `deadline`. Returns whether done(s). */
bool loop_until(struct shim *s, bool (*done)(const struct shim *s), uint64_t deadline);

#endif
