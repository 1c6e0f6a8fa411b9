/* A container's changes as the archive of an OCI layer (image-spec, layer.md): the same tree gives the same bytes. */
#ifndef BERTH_LAYER_ARCHIVE_H
#define BERTH_LAYER_ARCHIVE_H

#include <stdint.h>

#include "layer/changes.h"
#include "layer/limits.h"
#include "layer/sha256.h"

struct archive_result {
	char diff_id[SHA256_TEXT];
	uint64_t bytes, entries;
};

/*
 * Writes what `request` finds to `out` as a tar archive with pax headers where ustar has no room: deletions as whiteouts, directories that hide what is beneath
 * them as opaque, names of one file after the first as hard links, owners as the container sees them, times in whole seconds, the `user.*` attributes and
 * `security.capability`. Sockets are left out. The request's own `each` and `context` are not used; nothing may write to the tree meanwhile.
 *
 * EFBIG beyond the limits and for a name that no whiteout can name, EPROTO for a name that a layer would take for a whiteout, EIO for a file that changed.
 */
must_check int archive_write(const struct changes_request *request, int out, const struct layer_limits *limits, struct archive_result *result, struct rt_error *err);

#endif
