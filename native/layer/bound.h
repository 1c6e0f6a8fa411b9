/* Writable layers of a bounded size: what a container may write, in bytes and in files, whatever else the disk holds. */
#ifndef BERTH_LAYER_BOUND_H
#define BERTH_LAYER_BOUND_H

#include <stdint.h>

#include "common/error.h"

enum bound_kind {
	BOUND_NONE,
	BOUND_PROJECT, /* a project quota on the directory's own filesystem */
	BOUND_IMAGE,   /* a filesystem of that size in a file of its own */
	BOUND_TMPFS,   /* memory, charged to who writes */
};

struct bound {
	enum bound_kind kind;
	uint64_t bytes, inodes; /* of an image what it was made with counts */
	const char *image;      /* BOUND_IMAGE: an ext4 filesystem in a file */
	uint32_t project;       /* BOUND_PROJECT: its id, nobody else's on this filesystem, not 0 */
};

/* "project", "image" or "tmpfs". EINVAL names what is none of them. */
must_check int bound_parse(const char *text, enum bound_kind *out, struct rt_error *err);

/* Makes the filesystem of an image or a tmpfs, with an empty `upper` and `work` in its root, as an unattached mount; it goes away with the last mount of it. */
must_check int bound_mount(const struct bound *b, int *out, struct rt_error *err);

/* Makes what is written below these directories, and they themselves, count for the project, and sets the project's limits. Both are empty. ENOTSUP where the filesystem limits no projects. */
must_check int bound_project(const struct bound *b, const char *upper, const char *work, struct rt_error *err);

/* Takes the limits of the project away again, on the filesystem that holds `dir`. No error where there are none. */
must_check int bound_forget(uint32_t project, const char *dir, struct rt_error *err);

#endif
