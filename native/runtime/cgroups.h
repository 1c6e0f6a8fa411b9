/*
 * The container's cgroup: one directory of the same path in every hierarchy that matters (cgroups(7), the kernel's
 * admin-guide/cgroup-v1 and cgroup-v2). Works alike on v1, v2 and both at once; see common/cgroup.h.
 */
#ifndef BERTH_RUNTIME_CGROUPS_H
#define BERTH_RUNTIME_CGROUPS_H

#include <sys/types.h>

#include "common/cgroup.h"
#include "runtime/config.h"

struct cgroups {
	struct cg_layout layout;
	const char *path; /* relative to the root of each hierarchy; empty: in no cgroup of its own */
	int v2_fd;        /* the cgroup's directory on the v2 hierarchy, for CLONE_INTO_CGROUP; -1 */
};

/*
 * Creates the cgroup everywhere and writes its limits. A limit without a controller to hold it is ENOTSUP; a cgroup that
 * already has processes is EBUSY. On failure nothing that this call made stays.
 */
must_check int cgroups_create(struct cgroups *g, const struct config *c, struct rt_error *err);

/*
 * Moves the calling process, which must have one thread, into every directory of the cgroup; the v2 one is left out when `in_v2`
 * says that it was born there. A thread that moves itself by the v1 "tasks" file needs no lock that other processes' forks
 * must leave first; whoever moves another process waits for it, mostly some milliseconds.
 */
must_check int cgroups_enter(const struct cgroups *g, bool in_v2, struct rt_error *err);

/* Moves another process into every directory of the cgroup. */
must_check int cgroups_attach(const struct cgroups *g, pid_t pid, struct rt_error *err);

/* Kills every process of the cgroup and of those below it, forks in flight included. A missing cgroup is no error. */
must_check int cgroups_kill(const struct cg_layout *layout, const char *path, struct rt_error *err);

/* Sends `sig` once to each process now in the cgroup. */
must_check int cgroups_signal(const struct cg_layout *layout, const char *path, int sig, struct rt_error *err);

/* The processes of the cgroup and of those below it, the caller's to free. A missing cgroup has none. */
must_check int cgroups_processes(const struct cg_layout *layout, const char *path, pid_t **pids, size_t *count, struct rt_error *err);

/* Removes the cgroup if nothing is in it, the quick way out of most containers. 1 when something is, and then part of it may stay. */
must_check int cgroups_remove_empty(const struct cg_layout *layout, const char *path, struct rt_error *err);

/* Removes the cgroup and those below it, waiting up to CGROUPS_REMOVE_MS for it to empty. A missing cgroup is no error. */
#define CGROUPS_REMOVE_MS 10000
must_check int cgroups_remove(const struct cg_layout *layout, const char *path, struct rt_error *err);

/*
 * Gives a v2 cgroup to the container's user, who may then make cgroups below it and put processes there, but change no limit
 * (runtime-spec "Cgroup ownership"): where the config has a cgroup namespace and a writable cgroup mount. Else does nothing.
 */
must_check int cgroups_delegate(const struct config *c, int cgroup_fd, struct rt_error *err);

#endif
