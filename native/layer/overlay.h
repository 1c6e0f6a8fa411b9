/* A container's root filesystem: read-only layers beneath one writable directory. */
#ifndef BERTH_LAYER_OVERLAY_H
#define BERTH_LAYER_OVERLAY_H

#include "common/error.h"
#include "layer/bound.h"
#include "layer/idmap.h"

#define OVERLAY_LOWERS_MAX 500 /* the kernel's own limit */

struct overlay {
	const char *target, *upper, *work;
	struct overlay_lower {
		const char *dir;   /* the tree, or where the image is to be mounted */
		const char *image; /* an EROFS file; NULL: dir holds the tree itself */
	} lowers[OVERLAY_LOWERS_MAX]; /* topmost first; all images' directories lie in one */
	int lower_count;
	const struct idmap *map; /* NULL: ids as on the host */
	struct bound bound;      /* of an image or a tmpfs: upper and work are in it, and NULL here */
};

/*
 * Mounts the overlay at target, without devices, and the lowers' images where they are not mounted yet (image-mount.h); upper and work must be empty directories of one filesystem. With a map, the lowers show their
 * owners through it and upper's root becomes the container root's own, so that root in a user namespace with that map writes, copies up, chowns and deletes as
 * it would on a disk of its own. The writable layer is not synced to disk (`volatile`): it does not outlive a crash of the machine anyway.
 *
 * On failure the overlay is not mounted; images may be. ENOTSUP when the kernel or the layers' filesystem knows no idmapped mounts. Linux 5.19 or later with a map.
 */
must_check int overlay_mount(const struct overlay *o, struct rt_error *err);

/*
 * Opens the root of what overlay_mount would show beneath the writable layer, read-only and with the owners that the layers give; it is attached nowhere and goes
 * with its descriptor. This process is in a mount namespace of its own from then on. Only lowers and target are read, and images must be mounted already or
 * are mounted as overlay_mount does it.
 */
must_check int overlay_lowers(const struct overlay *o, int *root, struct rt_error *err);

/* Lazily detaches whatever is mounted at target, however often. Nothing there, or no target at all, is success. */
must_check int overlay_unmount(const char *target, struct rt_error *err);

#endif
