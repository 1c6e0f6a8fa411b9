#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/mount-api.h"
#include "runtime/rootfs.h"

static const struct { const char *name, *target; } links[] = {
	{ "fd", "/proc/self/fd" }, { "stdin", "/proc/self/fd/0" }, { "stdout", "/proc/self/fd/1" }, { "stderr", "/proc/self/fd/2" }, { "ptmx", "pts/ptmx" },
};

/* Binds a device over an empty file. */
static int bind_device(int rootfs, const char *path, int tree, struct rt_error *err)
{
	cleanup_fd int target = target_open(rootfs, path, false, TARGET_REFUSE, err);
	if (target < 0)
		return target;
	return sys_move_mount(tree, target) < 0 ? rt_fail_errno(err, "mount device %s", path) : 0;
}

/* A node that is there already will do when it is the same device. By one descriptor: what was looked at is what is changed. */
static int take_over(int dir, const char *name, mode_t type, const struct device_spec *d, struct rt_error *err)
{
	char path[32];
	struct stat st;
	cleanup_fd int node = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (node < 0 || fstat(node, &st) < 0)
		return rt_fail_errno(err, "make device %s", d->path);
	if ((st.st_mode & S_IFMT) != type || (type != S_IFIFO && st.st_rdev != makedev(d->major, d->minor)))
		return rt_fail(err, EEXIST, "make device %s", d->path);
	if (fchownat(node, "", d->uid, d->gid, AT_EMPTY_PATH) < 0)
		return rt_fail_errno(err, "own device %s", d->path);
	/* The host's /proc: the container's is below the root file system. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", node);
	return chmod(path, d->mode) < 0 ? rt_fail_errno(err, "set the mode of device %s", d->path) : 0;
}

/* mknod and owner by the descriptor of the directory. */
static int make_node(int dir, const struct device_spec *d, struct rt_error *err)
{
	const char *name = strrchr(d->path, '/') + 1;
	mode_t type = d->type == 'c' ? S_IFCHR : d->type == 'b' ? S_IFBLK : S_IFIFO;
	if (mknodat(dir, name, type | d->mode, makedev(d->major, d->minor)) < 0)
		return errno == EEXIST ? take_over(dir, name, type, d, err) : rt_fail_errno(err, "make device %s", d->path);
	/* mknod obeyed the umask, which is 0 here. */
	if ((d->uid || d->gid) && fchownat(dir, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return rt_fail_errno(err, "make device %s", d->path);
	return 0;
}

static int make_device(int rootfs, const struct device_spec *d, struct rt_error *err)
{
	const char *slash = strrchr(d->path, '/');
	cleanup_free char *dir_path = strndup(d->path, (size_t)(slash - d->path));
	if (!dir_path)
		return rt_fail(err, ENOMEM, "make device %s", d->path);
	cleanup_fd int dir = slash == d->path ? fs_openat2(rootfs, ".", O_PATH | O_DIRECTORY, 0, RESOLVE_IN_ROOT)
					      : target_open(rootfs, dir_path, true, TARGET_REFUSE, err);
	if (dir < 0)
		return rt_fail(err, dir, "make device %s", d->path);
	return make_node(dir, d, err);
}

/* All of the default devices, which stand in one directory. */
static int make_default_devices(int rootfs, struct rt_error *err)
{
	cleanup_fd int dev = target_open(rootfs, "/dev", true, TARGET_REFUSE, err);
	int r = dev < 0 ? dev : 0;
	for (int i = 0; r == 0 && i < DEFAULT_DEVICES; i++)
		r = make_node(dev, &default_device_specs[i], err);
	return r;
}

static bool dev_is_bound(const struct config *c, const struct prepared *p)
{
	for (size_t i = 0; i < c->mount_count; i++) {
		if (!strcmp(c->mounts[i].destination, "/dev") && p->mounts[i].options.bind)
			return true;
	}
	return false;
}

static int make_links(int rootfs, struct rt_error *err)
{
	cleanup_fd int dev = target_open(rootfs, "/dev", true, TARGET_REFUSE, err);
	if (dev < 0)
		return dev;
	for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
		if (symlinkat(links[i].target, dev, links[i].name) < 0 && errno != EEXIST)
			return rt_fail_errno(err, "link /dev/%s", links[i].name);
	}
	return 0;
}

int devices_populate(const struct config *c, const struct prepared *p, struct rt_error *err)
{
	if (dev_is_bound(c, p))
		return 0;
	int r = p->bind_devices ? 0 : make_default_devices(p->rootfs, err);
	for (int i = 0; r == 0 && p->bind_devices && i < DEFAULT_DEVICES; i++)
		r = bind_device(p->rootfs, default_device_specs[i].path, p->default_devices[i], err);
	for (size_t i = 0; r == 0 && i < c->device_count; i++)
		r = p->bind_devices && p->devices[i] >= 0 ? bind_device(p->rootfs, c->devices[i].path, p->devices[i], err) : make_device(p->rootfs, &c->devices[i], err);
	return r < 0 ? r : make_links(p->rootfs, err);
}
