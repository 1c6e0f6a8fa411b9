/* What `exec` runs: a process.json, or the container's own process with other arguments and what the options change. */
#ifndef BERTH_RUNTIME_EXEC_SPEC_H
#define BERTH_RUNTIME_EXEC_SPEC_H

#include "runtime/config.h"
#include "runtime/container.h"

/*
 * Replaces c->process, c being the container's config. `init` is the container's process, in whose root user names are looked
 * up. *doc owns what comes from a process.json, and stays NULL without one.
 */
must_check int exec_spec(const struct container_options *o, pid_t init, struct config *c, struct json_doc **doc, struct rt_error *err);

#endif
