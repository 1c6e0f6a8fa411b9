/* Hooks (runtime-spec "POSIX-platform Hooks"): programs that an engine wants run at fixed points of a container's life. */
#ifndef BERTH_RUNTIME_HOOKS_H
#define BERTH_RUNTIME_HOOKS_H

#include "runtime/config.h"

/*
 * Runs each hook in turn with the state as JSON on its stdin. The first that fails, or outlives its timeout, ends the list; the error
 * holds the start of what it wrote to its standard error. `env` is for hooks that name none of their own; NULL: they get none.
 */
must_check int hooks_run(const struct hook_list *hooks, const char *stage, const char *state_json, const char *const *env, struct rt_error *err);

#endif
