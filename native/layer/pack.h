/* One layer's archive becomes one file: an EROFS image that a kernel mounts and overlayfs stacks. */
#ifndef BERTH_LAYER_PACK_H
#define BERTH_LAYER_PACK_H

#include <stdint.h>

#include "layer/bytes.h"
#include "layer/limits.h"

struct pack_result {
	uint64_t bytes;   /* of the image */
	uint64_t entries; /* of the archive, extended headers not counted */
};

/*
 * Reads a tar archive to its end and writes its image into the empty file `image`, which is on disk when it returns. The tree within is the very one that
 * unpack_layer makes, of the same archives, with the same refusals; nothing of it ever touches the host's own filesystem.
 *
 * Equal archives give equal images. EFBIG also for what an image cannot hold: attributes of one inode beyond 256 KiB, of the root directory beyond 2 KiB.
 */
must_check int pack_layer(const struct byte_source *archive, int image, const struct layer_limits *limits, struct pack_result *out, struct rt_error *err);

#endif
