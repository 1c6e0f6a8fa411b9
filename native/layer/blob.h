/*
 * One layer's blob on its way into a filesystem, in one pass: hashed, decompressed, hashed again, and read by whoever makes the filesystem, each on
 * a thread of its own, with about three megabytes between them however large the layer is.
 */
#ifndef BERTH_LAYER_BLOB_H
#define BERTH_LAYER_BLOB_H

#include <stdint.h>

#include "layer/decompress.h"
#include "layer/sha256.h"

struct blob_request {
	int fd; /* the blob's bytes, read to their end; not owned */
	/*
	 * -1, or a file that holds the blob while somebody fills it; not owned. `fd` then tells how much of it is there: each time a number of bytes, eight of
	 * them, lowest first, never less than before. So what is downloaded already can be kept, and is not copied through a pipe.
	 */
	int file;
	enum compression compression;
	const char *blob_digest; /* what it must be, "sha256:..."; NULL: whatever it is */
	const char *diff_id;     /* the same of the archive */
};

struct blob_facts {
	char blob_digest[SHA256_TEXT];
	char diff_id[SHA256_TEXT];
	uint64_t blob_bytes;
	uint64_t archive_bytes;
};

/*
 * Runs `make` on the archive, which it must pull to its end, and returns what became of all. With a digest to compare, the blob is read to its end in any
 * case, since only all of it tells who is to blame. So a failure is, in this order: EBADMSG when the blob is not what its digest says; EPROTO when it does not
 * decompress; what `make` failed with; EBADMSG when the archive is not what the diff id says.
 */
must_check int blob_run(const struct blob_request *request, int (*make)(void *context, const struct byte_source *archive, struct rt_error *err),
			void *context, struct blob_facts *out, struct rt_error *err);

#endif
