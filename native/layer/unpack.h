/* One layer's archive becomes a directory that overlayfs can stack. */
#ifndef BERTH_LAYER_UNPACK_H
#define BERTH_LAYER_UNPACK_H

#include <stdint.h>

#include "layer/bytes.h"
#include "layer/limits.h"

struct unpack_result {
	uint64_t bytes;   /* on disk */
	uint64_t entries; /* of the archive, extended headers not counted */
};

/*
 * Reads a tar archive from `archive` to its end and unpacks it into the existing, empty directory `dir`; everything is on disk when it
 * returns. The OCI's whiteouts become overlay's: a 0/0 device for `.wh.NAME`, trusted.overlay.opaque for `.wh..wh..opq`. As the image specification has it,
 * they hide what lower layers hold and never this layer's own entries, in whatever order they come.
 *
 * Owners, modes (set-id bits among them), times and permitted attributes are kept. A device node becomes a whiteout: no layer gives a container
 * devices, and what lower layers have by its name must not show instead. Directories that the archive implies are root's, 0755.
 *
 * EPROTO: the archive is malformed or tries to leave the directory. EFBIG: a limit was passed. Anything else is the machine's failure.
 * On failure the directory holds whatever had been unpacked; the caller removes it.
 */
must_check int unpack_layer(const struct byte_source *archive, int dir, const struct layer_limits *limits, struct unpack_result *out, struct rt_error *err);

#endif
