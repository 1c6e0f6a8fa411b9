#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "common/scope.h"
#include "runtime/mount-api.h"
#include "runtime/rootfs.h"

struct view {
	const struct cgroups *cgroups;
	const struct mount_spec *mount;
	uint64_t attrs;
	bool in_namespace;
};

/* One hierarchy as the container sees it, detached. */
static int open_hierarchy(const struct view *v, const struct cg_hierarchy *h, struct rt_error *err)
{
	struct mount_options options = { 0 };
	char dir[PATH_MAX];
	size_t count = 0;
	for (int c = 0; !h->v2 && c < CG_CONTROLLERS; c++) {
		if (h->controllers & CG_BIT(c))
			options.data[count++] = cg_name(c);
	}
	if (v->in_namespace)
		return mount_make(h->v2 ? "cgroup2" : "cgroup", "cgroup", v->mount->destination, &options, v->attrs, err);
	int r = cg_dir(h, v->cgroups->path, dir, sizeof dir, err);
	if (r < 0)
		return r;
	cleanup_fd int tree = sys_open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE);
	if (tree < 0 || sys_mount_setattr(tree, 0, v->attrs & ~(uint64_t)MOUNT_ATTR__ATIME, 0, MS_PRIVATE) < 0)
		return rt_fail_errno(err, "bind cgroup %s", dir);
	return take_fd(&tree);
}

/* A hierarchy below the cgroup mount: a directory named after its controllers, links for co-mounted ones. */
static int mount_below(const struct view *v, const struct cg_hierarchy *h, int dir, struct rt_error *err)
{
	char name[128] = "";
	size_t count = 0, n = 0;
	for (int c = 0; !h->v2 && c < CG_CONTROLLERS; c++) {
		if (h->controllers & CG_BIT(c))
			n += (size_t)snprintf(name + n, sizeof name - n, "%s%s", count++ ? "," : "", cg_name(c));
	}
	if (h->v2)
		snprintf(name, sizeof name, "unified");
	cleanup_fd int mnt = open_hierarchy(v, h, err);
	if (mnt < 0)
		return mnt;
	if (mkdirat(dir, name, 0755) < 0)
		return rt_fail_errno(err, "create the cgroup mount point %s", name);
	cleanup_fd int target = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (target < 0 || sys_move_mount(mnt, target) < 0)
		return rt_fail_errno(err, "mount cgroup %s", name);
	for (int c = 0; count > 1 && c < CG_CONTROLLERS; c++) {
		if ((h->controllers & CG_BIT(c)) && symlinkat(name, dir, cg_name(c)) < 0)
			return rt_fail_errno(err, "link cgroup %s", cg_name(c));
	}
	return 0;
}

static int mount_v2(const struct view *v, int target, struct rt_error *err)
{
	const struct cg_layout *l = &v->cgroups->layout;
	if (l->unified < 0)
		return rt_fail(err, ENOTSUP, "mount cgroup2 at %s: cgroup v2 is not mounted on this host", v->mount->destination);
	cleanup_fd int mnt = open_hierarchy(v, &l->hierarchies[l->unified], err);
	if (mnt < 0)
		return mnt;
	return sys_move_mount(mnt, target) < 0 ? rt_fail_errno(err, "mount cgroup2 at %s", v->mount->destination) : 0;
}

int mount_cgroup(const struct config *c, const struct cgroups *g, const struct mount_spec *m, const struct mount_options *o, int target, struct rt_error *err)
{
	struct view v = { .cgroups = g, .mount = m, .attrs = o->set, .in_namespace = ns_has(c, NS_CGROUP) || c->ns.path[NS_CGROUP] };
	struct mount_options top = { .data = { "mode=755", "size=64k" } };
	if (!strcmp(m->type, "cgroup2") || (g->layout.count == 1 && g->layout.unified == 0))
		return mount_v2(&v, target, err);
	cleanup_fd int mnt = mount_make("tmpfs", "cgroup", m->destination, &top, o->set & ~(uint64_t)MOUNT_ATTR_RDONLY, err);
	if (mnt < 0)
		return mnt;
	if (sys_move_mount(mnt, target) < 0)
		return rt_fail_errno(err, "mount the cgroup directory at %s", m->destination);
	for (int i = 0; i < g->layout.count; i++) {
		int r = mount_below(&v, &g->layout.hierarchies[i], mnt, err);
		if (r < 0)
			return r;
	}
	if ((o->set & MOUNT_ATTR_RDONLY) && sys_mount_setattr(mnt, 0, MOUNT_ATTR_RDONLY, 0, 0) < 0)
		return rt_fail_errno(err, "make %s read-only", m->destination);
	return 0;
}
