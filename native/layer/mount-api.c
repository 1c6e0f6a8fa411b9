#include "layer/mount-api.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/scope.h"

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

int mount_clone(const char *path)
{
	long fd = syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	return fd < 0 ? -errno : (int)fd;
}

int mount_restrict(int mount_fd, int userns_fd)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV };
	if (userns_fd >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)userns_fd;
	}
	return syscall(SYS_mount_setattr, mount_fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0 ? -errno : 0;
}

int mount_attach(int mount_fd, int dirfd, const char *path)
{
	unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (*path ? 0 : MOVE_MOUNT_T_EMPTY_PATH);
	return syscall(SYS_move_mount, mount_fd, "", dirfd, path, flags) < 0 ? -errno : 0;
}

static int make(const char *type, const char *source, const struct mount_option *options, unsigned attributes)
{
	cleanup_fd int fs = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
	if (fs < 0)
		return -errno;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", source, 0) < 0)
		return -errno;
	for (const struct mount_option *o = options; o->name; o++) {
		if (syscall(SYS_fsconfig, fs, o->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, o->name, o->value, 0) < 0)
			return -errno;
	}
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	long fd = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID);
	return fd < 0 ? -errno : (int)fd;
}

int mount_filesystem(const char *type, const char *source)
{
	/* Said of the filesystem too: a device that is read-only mounts no other way. */
	static const struct mount_option options[] = { { "ro", NULL }, { NULL, NULL } };
	return make(type, source, options, MOUNT_ATTR_RDONLY);
}

int mount_writable(const char *type, const char *source, const struct mount_option *options)
{
	return make(type, source, options, 0);
}
