/* Putting a process that joins a container into the container's cgroup, or into one below it. */
#ifndef BERTH_RUNTIME_EXEC_CGROUP_H
#define BERTH_RUNTIME_EXEC_CGROUP_H

#include <sys/types.h>

#include "common/cgroup.h"
#include "runtime/container.h"

struct exec_cgroup {
	struct cg_layout layout;
	char *path[CG_MAX_HIERARCHIES]; /* of the directory in each hierarchy; NULL where the container has none */
	int v2_fd;                      /* of the v2 one, for CLONE_INTO_CGROUP; -1 */
	bool exact;                     /* --cgroup named it, so no other will do */
};

/*
 * Finds the directories: `path` and, for each "[CONTROLLER,...:]SUB" in `subs`, SUB below it, which must exist; a `path` of NULL has none. EINVAL for a
 * SUB that leads out of the container's cgroup or names an unknown controller.
 */
must_check int exec_cgroup_find(struct exec_cgroup *g, const char *path, const struct text_list *subs, struct rt_error *err);
void exec_cgroup_release(struct exec_cgroup *g);

/*
 * Moves `pid` there, the v2 hierarchy left out when `in_v2` says that it was born there. Where the container has turned its
 * own v2 cgroup into an inner node, which may hold no processes, it goes to that of `init`, which is below.
 */
must_check int exec_cgroup_enter(const struct exec_cgroup *g, const char *path, pid_t pid, bool in_v2, pid_t init, struct rt_error *err);

#endif
