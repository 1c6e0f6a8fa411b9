#include "layer/erofs-image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/scope.h"

#define BUFFER (1u << 20)
#define START_EVERY (8u << 20)

int image_open(struct erofs_image *i, int fd, struct rt_error *err)
{
	*i = (struct erofs_image){ .fd = fd, .buffer_at = EROFS_BLOCK, .buffer = malloc(BUFFER) };
	return i->buffer ? 0 : rt_fail(err, ENOMEM, "write the image");
}

void image_close(struct erofs_image *i)
{
	free(i->buffer);
	for (unsigned n = 0; n < IMAGE_OPEN_BLOCKS; n++)
		free(i->open[n].bytes);
}

int image_patch(struct erofs_image *i, uint64_t at, const void *bytes, size_t len, struct rt_error *err)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = retry_eintr(pwrite(i->fd, (const char *)bytes + done, len - done, (off_t)(at + done)));
		if (n < 0)
			return rt_fail_errno(err, "write the image");
		done += (size_t)n;
	}
	return 0;
}

static int flush_buffer(struct erofs_image *i, struct rt_error *err)
{
	int r = image_patch(i, i->buffer_at, i->buffer, i->buffered, err);
	i->buffer_at += i->buffered;
	i->buffered = 0;
	/* The disk works while the rest is being read, so that little is left for the fsync. */
	if (r == 0 && i->buffer_at - i->started >= START_EVERY) {
		sync_file_range(i->fd, (off_t)i->started, (off_t)(i->buffer_at - i->started), SYNC_FILE_RANGE_WRITE);
		i->started = i->buffer_at;
	}
	return r;
}

uint32_t image_next_block(const struct erofs_image *i)
{
	return (uint32_t)((i->buffer_at + i->buffered) / EROFS_BLOCK);
}

int image_write(struct erofs_image *i, const void *bytes, size_t len, struct rt_error *err)
{
	const unsigned char *p = bytes;
	while (len > 0) {
		size_t part = BUFFER - i->buffered < len ? BUFFER - i->buffered : len;
		memcpy(i->buffer + i->buffered, p, part);
		i->buffered += part;
		p += part;
		len -= part;
		int r = i->buffered == BUFFER ? flush_buffer(i, err) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

int image_end_content(struct erofs_image *i, struct rt_error *err)
{
	static const unsigned char zeros[EROFS_BLOCK];
	if ((i->buffer_at + i->buffered) / EROFS_BLOCK >= EROFS_NO_BLOCK - 1)
		return rt_fail(err, EFBIG, "an image of more than 16 TiB");
	return image_write(i, zeros, -i->buffered % EROFS_BLOCK, err);
}

int image_skip(struct erofs_image *i, uint64_t blocks, struct rt_error *err)
{
	int r = blocks > 0 ? flush_buffer(i, err) : 0;
	i->buffer_at += blocks * EROFS_BLOCK;
	return r < 0 ? r : image_end_content(i, err);
}

/* A block opened lately may still lie in the buffer. */
static int write_block(struct erofs_image *i, struct image_block *b, struct rt_error *err)
{
	uint64_t at = (uint64_t)b->number * EROFS_BLOCK;
	if (at < i->buffer_at)
		return image_patch(i, at, b->bytes, EROFS_BLOCK, err);
	memcpy(i->buffer + (at - i->buffer_at), b->bytes, EROFS_BLOCK);
	return 0;
}

static int open_block(struct erofs_image *i, struct image_block *b, struct rt_error *err)
{
	int r = 0;
	if (b->bytes)
		r = write_block(i, b, err);
	else
		b->bytes = malloc(EROFS_BLOCK);
	if (r < 0 || !b->bytes)
		return r < 0 ? r : rt_fail(err, ENOMEM, "write the image");
	b->number = image_next_block(i);
	b->used = 0;
	memset(b->bytes, 0, EROFS_BLOCK);
	r = image_write(i, b->bytes, EROFS_BLOCK, err);
	return r < 0 ? r : image_end_content(i, err);
}

int image_place(struct erofs_image *i, const void *item, size_t len, uint64_t *at, struct rt_error *err)
{
	if (len > EROFS_BLOCK) {
		*at = i->buffer_at + i->buffered;
		int r = image_write(i, item, len, err);
		return r < 0 ? r : image_end_content(i, err);
	}
	struct image_block *best = NULL, *fullest = i->open;
	for (struct image_block *b = i->open; b < i->open + IMAGE_OPEN_BLOCKS; b++) {
		if (!b->bytes) {
			fullest = b;
			break;
		}
		if (b->used + len <= EROFS_BLOCK && (!best || b->used > best->used))
			best = b;
		if (b->used > fullest->used)
			fullest = b;
	}
	int r = best ? 0 : open_block(i, best = fullest, err);
	if (r < 0)
		return r;
	memcpy(best->bytes + best->used, item, len);
	*at = (uint64_t)best->number * EROFS_BLOCK + best->used;
	best->used += (uint32_t)((len + EROFS_SLOT - 1) / EROFS_SLOT * EROFS_SLOT);
	return 0;
}

int image_flush(struct erofs_image *i, struct rt_error *err)
{
	int r = flush_buffer(i, err);
	for (unsigned n = 0; r == 0 && n < IMAGE_OPEN_BLOCKS && i->open[n].bytes; n++)
		r = write_block(i, &i->open[n], err);
	return r;
}

/* CRC-32C, reflected; one block in an image's life. */
static uint32_t crc32c(const unsigned char *p, size_t len)
{
	uint32_t crc = ~0u;
	while (len-- > 0) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return crc;
}

int image_finish(struct erofs_image *i, const void *root, size_t root_len, uint64_t inodes, struct rt_error *err)
{
	unsigned char block[EROFS_BLOCK] = { 0 };
	struct erofs_super super = {
		.magic = EROFS_MAGIC,
		.feature_compat = EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME,
		.block_bits = EROFS_BLOCK_BITS,
		.root = IMAGE_ROOT_AT / EROFS_SLOT,
		.inodes = inodes,
		.blocks = image_next_block(i),
	};
	memcpy(block + EROFS_SUPER_AT, &super, sizeof super);
	memcpy(block + IMAGE_ROOT_AT, root, root_len);
	super.checksum = crc32c(block + EROFS_SUPER_AT, EROFS_BLOCK - EROFS_SUPER_AT);
	memcpy(block + EROFS_SUPER_AT, &super, sizeof super);
	/* The last block may be one that was skipped and never needed. */
	if (ftruncate(i->fd, (off_t)((uint64_t)super.blocks * EROFS_BLOCK)) < 0)
		return rt_fail_errno(err, "write the image");
	return image_patch(i, 0, block, sizeof block, err);
}
