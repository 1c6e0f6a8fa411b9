/* Making the container's first process with one clone3(2). */
#ifndef BERTH_RUNTIME_SPAWN_H
#define BERTH_RUNTIME_SPAWN_H

#include "runtime/init.h"

/*
 * Starts init_main in a new process with the config's namespaces, which enters its cgroup first. `sync_fd` is the runtime's end
 * of the conversation. Sets *pid, as seen from here.
 */
must_check int spawn_init(struct init_args *a, int sync_fd, pid_t *pid, struct rt_error *err);

#endif
