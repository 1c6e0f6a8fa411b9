/*
 * The kernel's file-descriptor mount calls (fsopen(2), open_tree(2), mount_setattr(2), move_mount(2)), which musl does not declare.
 * All return 0 or a descriptor, or -errno.
 */
#ifndef BERTH_LAYER_MOUNT_API_H
#define BERTH_LAYER_MOUNT_API_H

#include <stdint.h>

#include "common/error.h"

/* A private, unattached copy of the mount at a path, beginning there. */
must_check int mount_clone(const char *path);

/* Makes an unattached mount read-only and without devices; with userns_fd >= 0 it also shows its owners through that namespace's id map. */
must_check int mount_restrict(int mount_fd, int userns_fd);

/* Attaches an unattached mount at a path relative to dirfd, or at dirfd itself when `path` is "". */
must_check int mount_attach(int mount_fd, int dirfd, const char *path);

/* An option of a filesystem to be mounted; a flag where there is no value. */
struct mount_option {
	const char *name, *value;
};

/* An unattached mount of a filesystem from its source, writable, without devices and set-id bits. `options` ends with a NULL name. */
must_check int mount_writable(const char *type, const char *source, const struct mount_option *options);

/* An unattached mount of a filesystem from its source, read-only, without devices and set-id bits. -ENOTBLK where it wants a device and the source is none. */
must_check int mount_filesystem(const char *type, const char *source);

#endif
