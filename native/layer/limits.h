/*
 * What one layer may ask of a machine. A limit passed is an error with EFBIG; a malformed or hostile archive is one with EPROTO.
 */
#ifndef BERTH_LAYER_LIMITS_H
#define BERTH_LAYER_LIMITS_H

#include <stdint.h>

#define LAYER_PATH_MAX 4096      /* bytes of a path or link target, the NUL included */
#define LAYER_NAME_MAX 255       /* bytes of one component */
#define LAYER_DEPTH_MAX 255      /* components of a path */
#define LAYER_EXTENSION_MAX (1u << 20) /* bytes of one extended header */
#define LAYER_XATTRS_MAX 64      /* extended attributes of one entry */

#define LAYER_DEFAULT_MAX_BYTES (32ull << 30)
#define LAYER_DEFAULT_MAX_ENTRIES (4ull << 20)

struct layer_limits {
	uint64_t max_bytes;   /* file contents and extended headers together */
	uint64_t max_entries; /* headers, extended ones included */
};

#endif
