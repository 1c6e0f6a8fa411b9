/* Making the container's first process with one clone3(2). */
#ifndef BERTH_RUNTIME_SPAWN_H
#define BERTH_RUNTIME_SPAWN_H

#include "runtime/init.h"

/*
 * Starts init_main in a new process with the config's namespaces, waiting for its GO. `sync_fd` is the runtime's end of the
 * conversation. Sets *pid, as seen from here, and *in_v2 when the process was born in its v2 cgroup.
 */
must_check int spawn_init(struct init_args *a, int sync_fd, pid_t *pid, bool *in_v2, struct rt_error *err);

#endif
