/* Inodes of an EROFS image and what stands behind them, as bytes. */
#ifndef BERTH_LAYER_EROFS_INODE_H
#define BERTH_LAYER_EROFS_INODE_H

#include "layer/erofs-format.h"
#include "layer/tar.h"

struct inode_facts {
	mode_t mode; /* with its type */
	uid_t uid;
	gid_t gid;
	uint64_t size;
	struct timespec mtime;
	uint32_t first_block;
	uint32_t number; /* what stat(2) shows */
	uint32_t nlink;
};

/* Encoded attributes; {NULL, 0} for none. The bytes are the owner's to free. */
struct inode_xattrs {
	unsigned char *bytes;
	size_t len;
};

/* Adds attributes, in place of those of the same name. EFBIG for more than one inode can carry. */
must_check int xattrs_add(struct inode_xattrs *x, const struct tar_xattr *more, unsigned count, struct rt_error *err);

/* Bytes of an inode with its attributes. */
size_t inode_span(const struct inode_xattrs *x);

/* Whether `tail` bytes, the end of a content, may stand behind the inode: some, and all in one block. */
bool inode_takes_tail(const struct inode_xattrs *x, size_t tail);

/* Writes the inode and its attributes, inode_span bytes. */
void inode_encode(const struct inode_facts *facts, const struct inode_xattrs *x, bool with_tail, unsigned char *out);

#endif
