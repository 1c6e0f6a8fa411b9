#include "shim/container.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"

#define PROCS_MAX (1u << 20)
#define DEPTH_MAX 32

/* Signals each pid of a whitespace-separated list; ours excepted. Returns how many. */
static int kill_listed(char *text)
{
	int count = 0;
	for (char *rest = text, *word; (word = strsep(&rest, " \n"));) {
		long pid = strtol(word, NULL, 10);
		if (pid > 1 && pid != getpid() && kill((pid_t)pid, SIGKILL) == 0)
			count++;
	}
	return count;
}

static void kill_tree(int dirfd, int depth)
{
	struct rt_error ignored = { 0 };
	cleanup_free char *procs = NULL;
	if (fs_read_file(dirfd, "cgroup.procs", PROCS_MAX, &procs, NULL, &ignored) == 0)
		kill_listed(procs);
	int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir || depth == DEPTH_MAX)
		return;
	for (const struct dirent *e; (e = readdir(dir));) {
		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		cleanup_fd int below = openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (below >= 0)
			kill_tree(below, depth + 1);
	}
}

/* The hierarchies where a container's cgroup may be: any that holds a controller, and the unified one. */
static void kill_in(const struct cg_hierarchy *h, const char *cgroups_path)
{
	struct rt_error ignored = { 0 };
	char path[PATH_MAX];
	if (cg_dir(h, cgroups_path, path, sizeof path, &ignored) < 0)
		return;
	cleanup_fd int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* cgroup.kill (Linux 5.14, v2 only) is atomic: nothing forks away from it. */
	if (dirfd < 0 || (h->v2 && fs_write_at(dirfd, "cgroup.kill", "1") == 0))
		return;
	kill_tree(dirfd, 0);
}

void container_kill_cgroup(const char *cgroups_path)
{
	struct cg_layout layout;
	struct rt_error ignored = { 0 };
	if (cg_detect(&layout, &ignored) < 0)
		return;
	const struct cg_hierarchy *pids = cg_of(&layout, CG_PIDS);
	if (pids)
		kill_in(pids, cgroups_path);
	if (layout.unified >= 0 && pids != &layout.hierarchies[layout.unified])
		kill_in(&layout.hierarchies[layout.unified], cgroups_path);
}

void container_usage(const char *cgroups_path, struct cg_usage *usage, struct cg_spent *spent)
{
	struct cg_layout layout;
	struct rt_error ignored = { 0 };
	/* Without a hierarchy every value is unknown, as in a cgroup that is not there. */
	if (cg_detect(&layout, &ignored) < 0)
		cg_parse_mountinfo("", &layout);
	cg_read_usage(&layout, cgroups_path, usage);
	cg_read_spent(&layout, cgroups_path, spent);
}

int container_kill_children(void)
{
	struct rt_error ignored = { 0 };
	cleanup_free char *children = NULL;
	if (fs_read_file(AT_FDCWD, "/proc/thread-self/children", PROCS_MAX, &children, NULL, &ignored) < 0)
		return 0;
	return kill_listed(children);
}
