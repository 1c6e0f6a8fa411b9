/*
 * The cgroup that shims share on the unified hierarchy: "/berth-shims" where a container's is "/berth/x" or "/berth/node/x", so
 * that whoever clears out containers' cgroups does not meet it. A service manager that ends the agent's cgroup, or limits its memory, then does not reach the shims. Where
 * no unified hierarchy is mounted or it may not be written, a shim stays in the agent's cgroup; the agent's unit should say KillMode=process in any case.
 */
#ifndef BERTH_SHIM_OWNCGROUP_H
#define BERTH_SHIM_OWNCGROUP_H

/* Moves this process there, making the cgroup if it is the first. Failing is no error. */
void owncgroup_enter(const char *container_cgroup);

/* Moves this process to the root, and removes the cgroup if it was the last. */
void owncgroup_leave(const char *container_cgroup);

#endif
