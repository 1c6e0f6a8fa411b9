#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/mount-api.h"
#include "runtime/rootfs.h"

/* What the file system itself says of a refusal, e.g. "tmpfs: Bad value for 'size'". */
static int fs_error(int fs, const char *type, const char *destination, struct rt_error *err)
{
	int code = errno;
	char log[256] = "";
	ssize_t n = read(fs, log, sizeof log - 1);
	log[n > 0 ? n : 0] = 0;
	return rt_fail(err, code, "mount %s at %s%s%s", type, destination, n > 0 ? ": " : "", n > 0 ? log : "");
}

static int configure(int fs, const char *const *data, const char *const *flags, const char *type, const char *destination, struct rt_error *err)
{
	for (; *flags; flags++) {
		if (sys_fsconfig(fs, FSCONFIG_SET_FLAG, *flags, NULL) < 0)
			return fs_error(fs, type, destination, err);
	}
	for (; *data; data++) {
		char key[64];
		const char *eq = strchr(*data, '=');
		size_t n = eq ? (size_t)(eq - *data) : strlen(*data);
		if (n >= sizeof key)
			return rt_fail(err, EINVAL, "mount at %s: unknown option %s", destination, *data);
		memcpy(key, *data, n);
		key[n] = 0;
		if (sys_fsconfig(fs, eq ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, eq ? eq + 1 : NULL) < 0)
			return fs_error(fs, type, destination, err);
	}
	if (sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
		return fs_error(fs, type, destination, err);
	return 0;
}

/* A detached mount of a file system that the container's own namespaces shape. */
static int make_mount(const char *type, const char *source, const char *destination, const struct mount_options *o, uint64_t attrs, struct rt_error *err)
{
	cleanup_fd int fs = sys_fsopen(type);
	if (fs < 0)
		return rt_fail_errno(err, "mount %s at %s", type, destination);
	if (source && *source && sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", source) < 0)
		return fs_error(fs, type, destination, err);
	int r = configure(fs, o->data, o->sb_flags, type, destination, err);
	if (r < 0)
		return r;
	int mnt = sys_fsmount(fs, (unsigned)attrs);
	return mnt < 0 ? fs_error(fs, type, destination, err) : mnt;
}

static int finish_tree(int mnt, const struct mount_options *o, const char *destination, struct rt_error *err)
{
	if ((o->set_tree || o->clear_tree) && sys_mount_setattr(mnt, AT_RECURSIVE, o->set_tree, o->clear_tree, 0) < 0)
		return rt_fail_errno(err, "set the options of %s", destination);
	if (o->propagation && sys_mount_setattr(mnt, o->propagation_tree ? AT_RECURSIVE : 0, 0, 0, o->propagation) < 0)
		return rt_fail_errno(err, "set the propagation of %s", destination);
	return 0;
}

/* One v1 hierarchy below the cgroup mount: a directory named after its controllers, links for co-mounted ones. */
static int mount_v1_hierarchy(int dir, const struct cg_hierarchy *h, const struct mount_options *o, struct rt_error *err)
{
	char name[64] = "";
	const char *data[CG_CONTROLLERS + 1] = { NULL };
	size_t count = 0;
	for (int c = 0; c < CG_CONTROLLERS; c++) {
		if (!h->v2 && (h->controllers & CG_BIT(c))) {
			strcat(strcat(name, count ? "," : ""), cg_name(c));
			data[count++] = cg_name(c);
		}
	}
	if (h->v2)
		strcpy(name, "unified");
	struct mount_options bare = { 0 };
	memcpy(bare.data, data, sizeof data);
	cleanup_fd int mnt = make_mount(h->v2 ? "cgroup2" : "cgroup", NULL, name, &bare, o->set, err);
	if (mnt < 0)
		return mnt;
	if (mkdirat(dir, name, 0755) < 0)
		return rt_fail_errno(err, "create the cgroup mount point %s", name);
	cleanup_fd int target = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (target < 0 || sys_move_mount(mnt, target) < 0)
		return rt_fail_errno(err, "mount cgroup %s", name);
	for (size_t i = 0; count > 1 && i < count; i++) {
		if (symlinkat(name, dir, data[i]) < 0)
			return rt_fail_errno(err, "link cgroup %s", data[i]);
	}
	return 0;
}

/* The container's own view of its cgroup. A cgroup namespace keeps the rest of the tree out of sight. */
static int mount_cgroup(const struct config *c, const struct cgroups *g, const struct mount_spec *m, const struct mount_options *o, int target, struct rt_error *err)
{
	struct mount_options bare = { 0 };
	if (!ns_has(c, NS_CGROUP) && !c->ns.path[NS_CGROUP])
		return rt_fail(err, ENOTSUP, "mount %s at %s needs a cgroup namespace", m->type, m->destination);
	if (g->layout.count == 1 && g->layout.unified == 0) {
		cleanup_fd int mnt = make_mount("cgroup2", "cgroup", m->destination, &bare, o->set, err);
		if (mnt < 0)
			return mnt;
		return sys_move_mount(mnt, target) < 0 ? rt_fail_errno(err, "mount cgroup2 at %s", m->destination) : 0;
	}
	bare.data[0] = "mode=755";
	bare.data[1] = "size=64k";
	cleanup_fd int mnt = make_mount("tmpfs", "cgroup", m->destination, &bare, o->set & ~(uint64_t)MOUNT_ATTR_RDONLY, err);
	if (mnt < 0)
		return mnt;
	if (sys_move_mount(mnt, target) < 0)
		return rt_fail_errno(err, "mount the cgroup directory at %s", m->destination);
	for (int i = 0; i < g->layout.count; i++) {
		int r = mount_v1_hierarchy(mnt, &g->layout.hierarchies[i], o, err);
		if (r < 0)
			return r;
	}
	if ((o->set & MOUNT_ATTR_RDONLY) && sys_mount_setattr(mnt, 0, MOUNT_ATTR_RDONLY, 0, 0) < 0)
		return rt_fail_errno(err, "make %s read-only", m->destination);
	return 0;
}

/* Places where a link in the image would make masks and devices miss their mark. */
static bool is_sensitive(const struct mount_spec *m)
{
	static const char *const paths[] = { "/dev", "/proc", "/sys" };
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		size_t n = strlen(paths[i]);
		if (!strncmp(m->destination, paths[i], n) && (m->destination[n] == 0 || m->destination[n] == '/'))
			return true;
	}
	return m->type && (!strcmp(m->type, "proc") || !strcmp(m->type, "sysfs") || !strncmp(m->type, "cgroup", 6));
}

static int attach(const struct config *c, struct prepared *p, const struct cgroups *g, size_t i, struct rt_error *err)
{
	const struct mount_spec *m = &c->mounts[i];
	struct prepared_mount *pm = &p->mounts[i];
	const struct mount_options *o = &pm->options;
	bool bind = o->bind;
	cleanup_fd int target = target_open(p->rootfs, m->destination, bind ? pm->is_directory : true, is_sensitive(m) ? TARGET_REFUSE : TARGET_FOLLOW, err);
	if (target < 0)
		return target;
	if (bind)
		return sys_move_mount(pm->tree, target) < 0 ? rt_fail_errno(err, "mount %s at %s", m->source, m->destination) : 0;
	if (!strcmp(m->type, "cgroup") || !strcmp(m->type, "cgroup2"))
		return mount_cgroup(c, g, m, o, target, err);
	/* A tmpfs becomes read-only at the end: mount points are still made in it. */
	bool later = !strcmp(m->type, "tmpfs") && (o->set & MOUNT_ATTR_RDONLY);
	cleanup_fd int mnt = make_mount(m->type, m->source ? m->source : m->type, m->destination, o, later ? o->set & ~(uint64_t)MOUNT_ATTR_RDONLY : o->set, err);
	if (mnt < 0)
		return mnt;
	if (sys_move_mount(mnt, target) < 0)
		return rt_fail_errno(err, "mount %s at %s", m->type, m->destination);
	int r = finish_tree(mnt, o, m->destination, err);
	if (r == 0 && later)
		pm->tree = take_fd(&mnt);
	return r;
}

int mounts_attach(const struct config *c, struct prepared *p, const struct cgroups *g, struct rt_error *err)
{
	for (size_t i = 0; i < c->mount_count; i++) {
		int r = attach(c, p, g, i, err);
		if (r < 0)
			return r;
	}
	return 0;
}
