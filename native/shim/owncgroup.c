#include "shim/owncgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cgroup.h"
#include "common/fs.h"

#define ATTEMPTS 8

/* Paths of the shared cgroup and of its hierarchy's root. */
static int locate(const char *container_cgroup, char own[PATH_MAX], char root[PATH_MAX])
{
	struct cg_layout layout;
	struct rt_error ignored = { 0 };
	if (cg_detect(&layout, &ignored) < 0 || layout.unified < 0)
		return -ENOENT;
	const char *mount = layout.hierarchies[layout.unified].mount;
	size_t top = 1 + strcspn(container_cgroup + 1, "/");
	/* A container at the hierarchy's top has no parent of Berth's own. */
	if (!container_cgroup[top])
		return -ENOENT;
	int own_len = snprintf(own, PATH_MAX, "%s%.*s-shims", mount, (int)top, container_cgroup);
	int root_len = snprintf(root, PATH_MAX, "%s", mount);
	return own_len < PATH_MAX && root_len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int join(const char *cgroup)
{
	char path[PATH_MAX + 16];
	snprintf(path, sizeof path, "%s/cgroup.procs", cgroup);
	return fs_write_at(AT_FDCWD, path, "0");
}

void owncgroup_enter(const char *container_cgroup)
{
	char own[PATH_MAX], root[PATH_MAX];
	if (locate(container_cgroup, own, root) < 0)
		return;
	/* The last of the others may remove it between the two calls. */
	for (int i = 0; i < ATTEMPTS; i++) {
		if (mkdir(own, 0755) < 0 && errno != EEXIST)
			return;
		int r = join(own);
		if (r != -ENOENT && r != -ENODEV)
			return;
	}
}

void owncgroup_leave(const char *container_cgroup)
{
	char own[PATH_MAX], root[PATH_MAX];
	if (locate(container_cgroup, own, root) < 0 || join(root) < 0)
		return;
	rmdir(own);
}
