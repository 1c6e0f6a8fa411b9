/* Loop devices: files as block devices, for filesystems that mount from nothing else. */
#ifndef BERTH_LAYER_LOOP_DEVICE_H
#define BERTH_LAYER_LOOP_DEVICE_H

#include <stdbool.h>

#include "common/error.h"

#define LOOP_NAME_MAX 32

/*
 * A free loop device on `file`, read-only unless `writable`; it goes away when neither the descriptor nor a mount uses it any more. `device` gets its
 * path. A writable one passes the page cache by where the file's filesystem can, so that no page is held twice. ENOTSUP where this machine has none.
 */
must_check int loop_device_open(const char *file, bool writable, char device[LOOP_NAME_MAX], int *out, struct rt_error *err);

#endif
