/*
 * A container that waits, made by the runtime's `park`, for somebody to say what it is to run (docs/contracts.md, "Parked containers"). It is its holder's: the
 * connection that said "hold". When that ends before a claim, or none comes, the container goes.
 */
#ifndef BERTH_SHIM_PARK_H
#define BERTH_SHIM_PARK_H

#include "common/error.h"
#include "common/json.h"

struct shim;

/* Makes the container, its output going to the two write ends. Returns when it waits. */
must_check int park_make(struct shim *s, int out_fd, int err_fd, struct rt_error *err);

/* Serves until a claim has come. ECANCELED when none will, and the runtime has removed the container then. */
must_check int park_await(struct shim *s, struct rt_error *err);

/* Has the runtime run what was claimed. */
must_check int park_run(struct shim *s, struct rt_error *err);

/* Takes the options of a claim, all of them in place of those at the start. EINVAL, the field named. */
must_check int park_take_options(struct shim *s, const struct json *claim, struct rt_error *err);

#endif
