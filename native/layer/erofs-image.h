/*
 * The file that an EROFS image is written to, from its first byte to its last in one pass, but for metadata.
 *
 * Content streams to the next free blocks. Inodes and what belongs to them are packed into blocks that stay open in memory while there is room in
 * them; the fullest is written when another is needed. So memory is bounded, and an inode stands near its content.
 */
#ifndef BERTH_LAYER_EROFS_IMAGE_H
#define BERTH_LAYER_EROFS_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "layer/erofs-format.h"

#define IMAGE_OPEN_BLOCKS 64

struct image_block {
	uint32_t number;
	uint32_t used;
	unsigned char *bytes; /* NULL: not open */
};

struct erofs_image {
	int fd; /* not owned */
	unsigned char *buffer;
	uint64_t buffer_at; /* address of its first byte, a block's */
	size_t buffered;
	uint64_t started;   /* bytes whose way to the disk has been begun */
	struct image_block open[IMAGE_OPEN_BLOCKS];
};

/* Begins an image in an empty file. Its first block is left for the superblock and the root directory's inode. */
must_check int image_open(struct erofs_image *i, int fd, struct rt_error *err);
void image_close(struct erofs_image *i);

/* The number of the block at which what is written next begins. Only between whole contents. */
uint32_t image_next_block(const struct erofs_image *i);

/* Appends content. */
must_check int image_write(struct erofs_image *i, const void *bytes, size_t len, struct rt_error *err);

/* Fills the last block of a content with zeros. EFBIG when the image has grown beyond what block numbers can name. */
must_check int image_end_content(struct erofs_image *i, struct rt_error *err);

/* Leaves room for content that image_patch gives later. */
must_check int image_skip(struct erofs_image *i, uint64_t blocks, struct rt_error *err);

/* Puts an inode with what belongs to it somewhere within one block, or, where it is longer, at the start of blocks of its own. *at is its byte address. */
must_check int image_place(struct erofs_image *i, const void *item, size_t len, uint64_t *at, struct rt_error *err);

/* Writes all that is in memory. After it only image_patch may follow. */
must_check int image_flush(struct erofs_image *i, struct rt_error *err);

/* Writes over bytes of a flushed image. */
must_check int image_patch(struct erofs_image *i, uint64_t at, const void *bytes, size_t len, struct rt_error *err);

/* Writes the first block: the superblock, and the root directory's inode with what belongs to it, at most IMAGE_ROOT_MAX bytes. */
#define IMAGE_ROOT_AT (EROFS_SUPER_AT + 128u)
#define IMAGE_ROOT_MAX (EROFS_BLOCK - IMAGE_ROOT_AT)
must_check int image_finish(struct erofs_image *i, const void *root, size_t root_len, uint64_t inodes, struct rt_error *err);

#endif
