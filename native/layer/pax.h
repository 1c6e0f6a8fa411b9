/* The records of a pax extended header: "LENGTH KEYWORD=VALUE\n", as many as fit the header's size. */
#ifndef BERTH_LAYER_PAX_H
#define BERTH_LAYER_PAX_H

#include "layer/tar.h"

/* What an entry's extended headers said, to be laid over its ustar header. Strings point into the headers' text. */
struct pax_overrides {
	const char *path, *link; /* NULL: not given */
	bool has_size, has_uid, has_gid, has_mtime;
	uint64_t size;
	uint64_t uid, gid;
	struct timespec mtime;
	unsigned xattr_count;
	struct tar_xattr xattrs[LAYER_XATTRS_MAX];
};

/*
 * Reads `len` bytes of records; `text` is changed (values are NUL-terminated in place) and must outlive `out`. EPROTO for malformed records, for
 * an attribute that no layer may set, and for sparse files. With `global`, where a record would concern every later entry, all but comments
 * and times are EPROTO.
 */
must_check int pax_parse(char *text, size_t len, bool global, struct pax_overrides *out, struct rt_error *err);

#endif
