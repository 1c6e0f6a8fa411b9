/* Headers of a tar archive (POSIX.1-2001, pax interchange format). */
#ifndef BERTH_LAYER_ARCHIVE_HEADER_H
#define BERTH_LAYER_ARCHIVE_HEADER_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#include "common/error.h"

struct archive_entry {
	const char *path, *link; /* NULL: no link */
	char type;               /* ustar's typeflag */
	uint32_t mode, uid, gid;
	uint64_t size;
	int64_t mtime;
	dev_t device;
};

/* Records of an extended header: all zeros at first. */
struct archive_pax {
	char *text;
	size_t len, cap;
};

static inline void archive_pax_free(struct archive_pax *pax)
{
	free(pax->text);
}

#define cleanup_pax __attribute__((cleanup(archive_pax_free)))

/* Adds "LENGTH KEY=VALUE\n". EFBIG beyond LAYER_EXTENSION_MAX bytes of records. */
must_check int archive_pax_add(struct archive_pax *pax, const char *key, const char *value, size_t len, struct rt_error *err);

/* Writes the ustar header of an entry, and what has no room there to `pax`, whose own header and records come before it then. */
must_check int archive_header(const struct archive_entry *entry, struct archive_pax *pax, unsigned char out[512], struct rt_error *err);

/* The header that comes before the records. */
void archive_pax_header(const struct archive_pax *pax, unsigned char out[512]);

#endif
