#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/copy-up.h"
#include "runtime/mount-api.h"
#include "runtime/rootfs.h"

/* What fsconfig(2) takes for a string. */
#define FSCONFIG_MAX 255

/* Where a container that lacks the right to a file system of its own (its network or IPC namespace belongs to others) sees the host's. */
static const char *host_place(const struct config *c, const char *type)
{
	if (!strcmp(type, "sysfs") && !ns_has(c, NS_NET))
		return "/sys";
	if (!strcmp(type, "mqueue") && !ns_has(c, NS_IPC))
		return "/dev/mqueue";
	return !strcmp(type, "proc") && !ns_has(c, NS_PID) ? "/proc" : NULL;
}

/* What the file system itself says of a refusal, e.g. "tmpfs: Bad value for 'size'". */
static int fs_error(int fs, const char *type, const char *destination, struct rt_error *err)
{
	int code = errno;
	char log[256] = "";
	ssize_t n = read(fs, log, sizeof log - 1);
	log[n > 0 ? n : 0] = 0;
	return rt_fail(err, code, "mount %s at %s%s%s", type, destination, n > 0 ? ": " : "", n > 0 ? log : "");
}

static int configure(int fs, const char *const *data, const char *const *flags, unsigned command, const char *type, const char *destination, struct rt_error *err)
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
		if (eq && strlen(eq + 1) > FSCONFIG_MAX)
			return rt_fail(err, EINVAL, "mount at %s: the value of %.*s is longer than %d bytes, which the kernel does not take", destination, (int)n, *data, FSCONFIG_MAX);
		memcpy(key, *data, n);
		key[n] = 0;
		if (sys_fsconfig(fs, eq ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, eq ? eq + 1 : NULL) < 0)
			return fs_error(fs, type, destination, err);
	}
	if (sys_fsconfig(fs, command, NULL, NULL) < 0)
		return fs_error(fs, type, destination, err);
	return 0;
}

int mount_make(const char *type, const char *source, const char *destination, const struct mount_options *o, uint64_t attrs, struct rt_error *err)
{
	cleanup_fd int fs = sys_fsopen(type);
	if (fs < 0)
		return rt_fail_errno(err, "mount %s at %s", type, destination);
	if (source && *source && sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", source) < 0)
		return fs_error(fs, type, destination, err);
	/* A file system on a device must itself know that it is read-only: the device may be, and a journal would be replayed. */
	if (source && source[0] == '/' && (attrs & MOUNT_ATTR_RDONLY) && sys_fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL) < 0)
		return fs_error(fs, type, destination, err);
	int r = configure(fs, o->data, o->sb_flags, FSCONFIG_CMD_CREATE, type, destination, err);
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

/* "remount": other options for the mount that is there, and for its file system. */
static int remount(const struct mount_spec *m, const struct mount_options *o, int rootfs, struct rt_error *err)
{
	int found = fs_openat2(rootfs, m->destination, O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	cleanup_fd int target = found;
	if (found < 0)
		return rt_fail(err, found, "remount %s", m->destination);
	if (o->data[0] || o->sb_flags[0]) {
		cleanup_fd int fs = sys_fspick(target);
		if (fs < 0)
			return rt_fail_errno(err, "remount %s", m->destination);
		int r = configure(fs, o->data, o->sb_flags, FSCONFIG_CMD_RECONFIGURE, "a file system", m->destination, err);
		if (r < 0)
			return r;
	}
	if ((o->set || o->clear) && sys_mount_setattr(target, 0, o->set, o->clear, 0) < 0)
		return rt_fail_errno(err, "remount %s", m->destination);
	return finish_tree(target, o, m->destination, err);
}

static int bind_host_place(const char *place, int target, const struct mount_spec *m, const struct mount_options *o, struct rt_error *err)
{
	/* What is below is the host's too: its cgroups, its debugging files. */
	uint64_t attrs = (o->set & ~(uint64_t)MOUNT_ATTR__ATIME) | (strcmp(m->type, "mqueue") ? MOUNT_ATTR_RDONLY : 0);
	cleanup_fd int tree = sys_open_tree(AT_FDCWD, place, OPEN_TREE_CLONE | AT_RECURSIVE);
	if (tree < 0 || sys_mount_setattr(tree, AT_RECURSIVE, attrs, 0, MS_SLAVE) < 0)
		return rt_fail_errno(err, "bind the host's %s", place);
	return sys_move_mount(tree, target) < 0 ? rt_fail_errno(err, "mount %s at %s", m->type, m->destination) : 0;
}

/* Without a mode of its own a tmpfs has that of the directory it covers, as in runc and crun. */
static void keep_mode(int rootfs, const struct mount_spec *m, struct mount_options *o, char mode[16])
{
	struct stat st;
	size_t n = 0;
	for (; o->data[n]; n++) {
		if (!strncmp(o->data[n], "mode=", 5))
			return;
	}
	cleanup_fd int fd = fs_openat2(rootfs, m->destination, O_PATH | O_DIRECTORY, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	if (fd < 0 || fstat(fd, &st) < 0 || n + 1 >= MOUNT_DATA_MAX)
		return;
	snprintf(mode, 16, "mode=%04o", (unsigned)st.st_mode & 07777);
	o->data[n] = mode;
	o->data[n + 1] = NULL;
}

static int attach_new(const struct config *c, struct prepared_mount *pm, const struct mount_spec *m, int target, struct rt_error *err)
{
	const struct mount_options *o = &pm->options;
	/* A tmpfs becomes read-only at the end: mount points are still made in it. */
	bool later = !strcmp(m->type, "tmpfs") && (o->set & MOUNT_ATTR_RDONLY);
	const char *source = m->source && *m->source ? m->source : m->type, *place;
	int r;
	cleanup_fd int mnt = mount_make(m->type, source, m->destination, o, later ? o->set & ~(uint64_t)MOUNT_ATTR_RDONLY : o->set, err);
	if (mnt == -EPERM && (place = host_place(c, m->type))) {
		*err = (struct rt_error){ 0 };
		return bind_host_place(place, target, m, o, err);
	}
	if (mnt < 0)
		return mnt;
	if (o->copy_up && (r = copy_up(target, mnt, m->destination, err)) < 0)
		return r;
	if (sys_move_mount(mnt, target) < 0)
		return rt_fail_errno(err, "mount %s at %s", m->type, m->destination);
	r = finish_tree(mnt, o, m->destination, err);
	if (r == 0 && later)
		pm->tree = take_fd(&mnt);
	return r;
}

static int attach(const struct config *c, struct prepared *p, const struct cgroups *g, size_t i, struct rt_error *err)
{
	const struct mount_spec *m = &c->mounts[i];
	struct prepared_mount *pm = &p->mounts[i];
	struct mount_options *o = &pm->options;
	char mode[16];
	int r;
	if (o->remount)
		return remount(m, o, p->rootfs, err);
	if (o->bind && pm->tree < 0 && (r = prepare_waiting_bind(c, m, pm, err)) < 0)
		return r;
	if (!o->bind && !strcmp(m->type, "tmpfs"))
		keep_mode(p->rootfs, m, o, mode);
	cleanup_fd int target = target_open(p->rootfs, m->destination, o->bind ? pm->is_directory : true, is_sensitive(m) ? TARGET_REFUSE : TARGET_FOLLOW, err);
	if (target < 0)
		return target;
	if (o->bind)
		return sys_move_mount(pm->tree, target) < 0 ? rt_fail_errno(err, "mount %s at %s", m->source, m->destination) : 0;
	if (!strcmp(m->type, "cgroup") || !strcmp(m->type, "cgroup2"))
		return mount_cgroup(c, g, m, o, target, err);
	return attach_new(c, pm, m, target, err);
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
