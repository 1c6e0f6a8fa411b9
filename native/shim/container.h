/* The running container as the kernel knows it: its first process, and the cgroup that holds whatever else it started. */
#ifndef BERTH_SHIM_CONTAINER_H
#define BERTH_SHIM_CONTAINER_H

#include <sys/types.h>

#include "common/cgroup.h"

/* Sends SIGKILL to every process of the cgroup and of the cgroups below it. A cgroup that is not there holds none. */
void container_kill_cgroup(const char *cgroups_path);

/* What the cgroup has used; CG_UNKNOWN for what cannot be read. */
void container_usage(const char *cgroups_path, struct cg_usage *usage, struct cg_spent *spent);

/* Sends SIGKILL to this process's children. Returns how many there were; 0 also where the kernel does not list them. */
int container_kill_children(void);

#endif
