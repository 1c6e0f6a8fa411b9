/*
 * A streaming reader of tar archives: POSIX ustar and pax (IEEE 1003.1, "pax"), and GNU's long names.
 *
 * The archive is hostile. Checksums, numbers and lengths are checked; sizes and counts are bounded; what the reader does not know is an
 * error (EPROTO), since a reader that guesses sees another archive than the next one does. Sparse files and multi-volume archives are
 * such errors.
 */
#ifndef BERTH_LAYER_TAR_H
#define BERTH_LAYER_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "layer/bytes.h"
#include "layer/limits.h"

enum tar_type { TAR_FILE, TAR_HARDLINK, TAR_SYMLINK, TAR_DEVICE, TAR_DIRECTORY, TAR_FIFO };

struct tar_xattr {
	const char *name; /* "user.x"; NUL-terminated */
	const char *value;
	size_t len;
};

struct tar_entry {
	enum tar_type type;
	char path[LAYER_PATH_MAX]; /* as written */
	char link[LAYER_PATH_MAX]; /* of hard and symbolic links, as written */
	mode_t mode;               /* permission, set-id and sticky bits */
	uid_t uid;
	gid_t gid;
	uint64_t size;
	struct timespec mtime;
	unsigned xattr_count;
	struct tar_xattr xattrs[LAYER_XATTRS_MAX]; /* valid until the next tar_next */
};

struct tar_reader {
	struct byte_source from;
	struct layer_limits limits;
	uint64_t bytes;   /* counted against limits.max_bytes */
	uint64_t entries; /* counted against limits.max_entries */
	uint64_t left;    /* of the current entry's content */
	unsigned padding; /* after it */
	char *extension;  /* the pax records that the entry's attributes point into */
	const unsigned char *piece; /* of the source, what is not read yet */
	size_t len;
};

/* `from` must outlive the reader. */
void tar_open(struct tar_reader *t, const struct byte_source *from, const struct layer_limits *limits);
void tar_close(struct tar_reader *t);

/* Moves to the next entry, past whatever content of the current one was not read. Returns 1, 0 at the archive's end, or -errno. */
must_check int tar_next(struct tar_reader *t, struct tar_entry *e, struct rt_error *err);

/* The next piece of the entry's content, in the source's memory until the next call. *len is 0 at its end. */
must_check int tar_read(struct tar_reader *t, const void **piece, size_t *len, struct rt_error *err);

/* Reads and drops what follows the archive's end, so that the writer sees every byte taken. */
must_check int tar_drain(struct tar_reader *t, struct rt_error *err);

#endif
