/* EROFS images of layers, each mounted once on this machine however many containers stand on it, so that they share its pages in memory too. */
#ifndef BERTH_LAYER_IMAGE_MOUNT_H
#define BERTH_LAYER_IMAGE_MOUNT_H

#include "common/error.h"

/*
 * Mounts `image` at the directory `at`, made when missing, unless an image is mounted there already. Read-only, without devices; from the file itself where the
 * kernel can (Linux 6.12), else through a loop device that goes away with the mount. ENOTSUP when this kernel can do neither.
 */
must_check int image_mount(const char *image, const char *at, struct rt_error *err);

/* Detaches what is mounted at `at` and removes the directory. Whatever still uses it keeps it alive. Nothing there is success. */
must_check int image_release(const char *at, struct rt_error *err);

/* Keeps image_mount and image_release of other processes waiting for directories beside `at`, until the descriptor is closed. */
must_check int image_lock(const char *at, int *lock, struct rt_error *err);

#endif
