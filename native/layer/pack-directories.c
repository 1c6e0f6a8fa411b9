#include "layer/pack-directories.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/scope.h"

/* One entry of a directory as it is written; "." and ".." stand among the others in their order. */
struct listed {
	const char *text;
	uint32_t len;
	uint32_t id;
};

struct listing {
	struct listed *all;
	size_t count, capacity;
};

static int compare(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;
	int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
	return order ? order : (x->len > y->len) - (x->len < y->len);
}

static int list(struct listing *l, const char *text, uint32_t len, uint32_t id, struct rt_error *err)
{
	if (l->count == l->capacity) {
		size_t capacity = l->capacity * 2 + 64;
		struct listed *grown = realloc(l->all, capacity * sizeof *grown);
		if (!grown)
			return rt_fail(err, ENOMEM, "list a directory");
		l->all = grown;
		l->capacity = capacity;
	}
	l->all[l->count++] = (struct listed){ text, len, id };
	return 0;
}

/* All that is in a directory, sorted as the kernel looks it up: bytes without a sign. */
static int list_directory(const struct names *n, const struct name_directory *d, struct listing *l, struct rt_error *err)
{
	l->count = 0;
	int r = list(l, ".", 1, d->name, err);
	if (r == 0)
		r = list(l, "..", 2, n->all[d->name].parent, err);
	for (uint32_t id = d->first; r == 0 && id != NAMES_NONE; id = n->all[id].next) {
		if (!n->all[id].gone)
			r = list(l, names_text(n, id), n->all[id].len, id, err);
	}
	if (r == 0)
		qsort(l->all, l->count, sizeof *l->all, compare);
	return r;
}

/* How many entries from `from` on share one block; their bytes in *used. */
static size_t block_of(const struct listing *l, size_t from, size_t *used)
{
	size_t i = from;
	for (*used = 0; i < l->count && *used + sizeof(struct erofs_dirent) + l->all[i].len <= EROFS_BLOCK; i++)
		*used += sizeof(struct erofs_dirent) + l->all[i].len;
	return i - from;
}

static uint64_t listing_size(const struct listing *l)
{
	uint64_t blocks = 0;
	size_t used = 0;
	for (size_t i = 0; i < l->count; blocks++)
		i += block_of(l, i, &used);
	return (blocks - 1) * EROFS_BLOCK + used;
}

static void encode_block(const struct names *n, const struct listed *first, size_t count, unsigned char *out)
{
	static const uint8_t types[] = {
		[NAME_FILE] = EROFS_FT_FILE,       [NAME_DIRECTORY] = EROFS_FT_DIRECTORY,    [NAME_SYMLINK] = EROFS_FT_SYMLINK,
		[NAME_FIFO] = EROFS_FT_FIFO, [NAME_WHITEOUT] = EROFS_FT_CHARACTER,
	};
	size_t at = count * sizeof(struct erofs_dirent);
	for (size_t i = 0; i < count; i++) {
		const struct name *name = &n->all[first[i].id];
		const struct erofs_dirent entry = { n->inodes[name->inode].at / EROFS_SLOT, (uint16_t)at, types[name->kind], 0 };
		memcpy(out + i * sizeof entry, &entry, sizeof entry);
		memcpy(out + at, first[i].text, first[i].len);
		at += first[i].len;
	}
}

static size_t inline_tail(const struct name_directory *d)
{
	size_t tail = (size_t)(d->size % EROFS_BLOCK);
	/* The root stands in what the superblock leaves of its block. */
	if (d->name == NAMES_ROOT && inode_span(&d->xattrs) + tail > IMAGE_ROOT_MAX)
		return 0;
	return inode_takes_tail(&d->xattrs, tail) ? tail : 0;
}

/* First pass: where each directory and its inode will be. */
static int place_directory(struct names *n, struct erofs_image *image, struct name_directory *d, struct listing *l, unsigned char *zeros, struct rt_error *err)
{
	int r = list_directory(n, d, l, err);
	if (r < 0)
		return r;
	d->size = listing_size(l);
	size_t span = inode_span(&d->xattrs), tail = inline_tail(d);
	uint64_t blocks = (d->size - tail + EROFS_BLOCK - 1) / EROFS_BLOCK;
	d->first_block = blocks ? image_next_block(image) : EROFS_NO_BLOCK;
	r = image_skip(image, blocks, err);
	struct name_inode *inode = &n->inodes[n->all[d->name].inode];
	if (r < 0 || d->name != NAMES_ROOT)
		return r < 0 ? r : image_place(image, zeros, span + tail, &inode->at, err);
	inode->at = IMAGE_ROOT_AT;
	return span > IMAGE_ROOT_MAX ? rt_fail(err, EFBIG, "extended attributes of the root directory of more than %u bytes", IMAGE_ROOT_MAX) : 0;
}

/* Second pass, when every inode has its place: what stands there. The root's inode is left in `item`, for the superblock's block. */
static int write_directory(const struct names *n, struct erofs_image *image, const struct name_directory *d, struct listing *l, unsigned char *item,
			   struct rt_error *err)
{
	const struct name *name = &n->all[d->name];
	const struct name_inode *inode = &n->inodes[name->inode];
	const size_t span = inode_span(&d->xattrs), tail = inline_tail(d);
	int r = list_directory(n, d, l, err);
	uint64_t at = (uint64_t)d->first_block * EROFS_BLOCK, left = d->size;
	for (size_t i = 0, used; r == 0 && i < l->count; at += EROFS_BLOCK) {
		size_t count = block_of(l, i, &used);
		if (left == tail) {
			encode_block(n, l->all + i, count, item + span);
		} else {
			unsigned char block[EROFS_BLOCK] = { 0 };
			encode_block(n, l->all + i, count, block);
			r = image_patch(image, at, block, sizeof block, err);
		}
		left -= left < EROFS_BLOCK ? left : EROFS_BLOCK;
		i += count;
	}
	const struct inode_facts facts = {
		.mode = S_IFDIR | d->mode,
		.uid = d->uid,
		.gid = d->gid,
		.size = d->size,
		.mtime = d->mtime,
		.first_block = d->first_block,
		.number = name->inode + 1,
		.nlink = inode->nlink,
	};
	inode_encode(&facts, &d->xattrs, tail > 0, item);
	return r < 0 || d->name == NAMES_ROOT ? r : image_patch(image, inode->at, item, span + tail, err);
}

static void encode_whiteout(const struct name *name, unsigned char out[sizeof(struct erofs_inode)])
{
	const struct inode_xattrs none = { 0 };
	inode_encode(&(struct inode_facts){ .mode = S_IFCHR, .number = name->inode + 1, .nlink = 1 }, &none, false, out);
}

/* Whiteouts are placed here too: an archive may take them back to its end. Other inodes have their places already. */
static int place_whiteouts(struct names *n, struct erofs_image *image, struct rt_error *err)
{
	for (uint32_t id = 1; id < n->count; id++) {
		unsigned char inode[sizeof(struct erofs_inode)];
		if (n->all[id].gone || n->all[id].kind != NAME_WHITEOUT)
			continue;
		encode_whiteout(&n->all[id], inode);
		int r = image_place(image, inode, sizeof inode, &n->inodes[n->all[id].inode].at, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Inodes were written with one link. */
static int correct_links(const struct names *n, struct erofs_image *image, uint64_t *inodes, struct rt_error *err)
{
	int r = 0;
	*inodes = 0;
	for (uint32_t i = 0; r == 0 && i < n->inode_count; i++) {
		uint32_t nlink = n->inodes[i].nlink;
		*inodes += nlink > 0;
	}
	for (uint32_t id = 1; r == 0 && id < n->count; id++) {
		const struct name *name = &n->all[id];
		const struct name_inode *inode = &n->inodes[name->inode];
		if (!name->gone && name->kind != NAME_DIRECTORY && inode->nlink > 1)
			r = image_patch(image, inode->at + offsetof(struct erofs_inode, nlink), &inode->nlink, sizeof inode->nlink, err);
	}
	return r;
}

int pack_directories(struct names *n, struct erofs_image *image, struct rt_error *err)
{
	const size_t item_max = sizeof(struct erofs_inode) + EROFS_XATTR_HEADER + (256u << 10) + EROFS_BLOCK;
	cleanup_free unsigned char *zeros = calloc(1, item_max), *item = malloc(item_max);
	struct listing l = { 0 };
	uint64_t inodes = 0;
	int r = zeros && item ? place_whiteouts(n, image, err) : rt_fail(err, ENOMEM, "write the image");
	for (uint32_t i = 0; r == 0 && i < n->directory_count; i++) {
		if (!n->all[n->directories[i].name].gone)
			r = place_directory(n, image, &n->directories[i], &l, zeros, err);
	}
	if (r == 0)
		r = image_flush(image, err);
	if (r == 0)
		r = correct_links(n, image, &inodes, err);
	/* The root is the first of all and is written last. */
	for (uint32_t i = n->directory_count; r == 0 && i-- > 0;) {
		if (!n->all[n->directories[i].name].gone)
			r = write_directory(n, image, &n->directories[i], &l, item, err);
	}
	if (r == 0)
		r = image_finish(image, item, inode_span(&n->directories[0].xattrs) + inline_tail(&n->directories[0]), inodes, err);
	free(l.all);
	return r;
}
