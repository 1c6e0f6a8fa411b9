/* What the commands that act on a container share. */
#ifndef BERTH_RUNTIME_LIFECYCLE_H
#define BERTH_RUNTIME_LIFECYCLE_H

#include "common/cgroup.h"
#include "runtime/container.h"
#include "runtime/state.h"

/* Opens and loads the record of o->id, locked (shared unless exclusive), and returns its directory. */
must_check int container_open(const struct container_options *o, bool exclusive, struct state *s, struct rt_error *err);

/* Runs the poststart or poststop hooks of a state whose doc has them; a failure is only a warning. */
void lifecycle_hooks(const struct state *s, enum hook_stage stage, enum status now);

/* Removes what a container whose process has ended leaves: its cgroup with whatever still runs there, and its record, locked at `dir`. */
must_check int lifecycle_clear(const struct container_options *o, int dir, const struct state *s, const struct cg_layout *layout, struct rt_error *err);

#endif
