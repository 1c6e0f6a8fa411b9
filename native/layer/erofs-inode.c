#include "layer/erofs-inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD 4u
#define XATTRS_BYTES_MAX (65534u * WORD)

static const struct prefix {
	const char *text;
	uint8_t index;
} prefixes[] = {
	{ "user.", EROFS_XATTR_USER },
	{ "trusted.", EROFS_XATTR_TRUSTED },
	{ "security.", EROFS_XATTR_SECURITY },
};

static size_t words(size_t len)
{
	return (len + WORD - 1) / WORD * WORD;
}

static size_t entry_span(const struct erofs_xattr *x)
{
	return words(sizeof *x + x->name_len + x->value_len);
}

/* Takes the attribute of that name out of the encoded ones. */
static void drop(struct inode_xattrs *x, uint8_t index, const char *name, size_t name_len)
{
	for (size_t at = 0; at < x->len;) {
		const struct erofs_xattr *entry = (const struct erofs_xattr *)(x->bytes + at);
		size_t span = entry_span(entry);
		if (entry->name_index == index && entry->name_len == name_len && memcmp(entry->name_and_value, name, name_len) == 0) {
			memmove(x->bytes + at, x->bytes + at + span, x->len - at - span);
			x->len -= span;
			return;
		}
		at += span;
	}
}

static int add(struct inode_xattrs *x, const struct tar_xattr *one, struct rt_error *err)
{
	const struct prefix *prefix = NULL;
	for (const struct prefix *p = prefixes; p < prefixes + sizeof prefixes / sizeof *prefixes; p++) {
		if (strncmp(one->name, p->text, strlen(p->text)) == 0)
			prefix = p;
	}
	if (!prefix || one->len > UINT16_MAX)
		return rt_fail(err, prefix ? EFBIG : EPROTO, "extended attribute %.100s is not a layer's to set", one->name);
	const char *name = one->name + strlen(prefix->text);
	size_t name_len = strlen(name), span = words(sizeof(struct erofs_xattr) + name_len + one->len);
	if (name_len == 0 || name_len > UINT8_MAX)
		return rt_fail(err, EPROTO, "extended attribute %.100s has no name, or too long a one", one->name);
	drop(x, prefix->index, name, name_len);
	if (x->len + span > XATTRS_BYTES_MAX)
		return rt_fail(err, EFBIG, "extended attributes of more than %u bytes", XATTRS_BYTES_MAX);
	unsigned char *grown = realloc(x->bytes, x->len + span);
	if (!grown)
		return rt_fail(err, ENOMEM, "keep extended attributes");
	x->bytes = grown;
	struct erofs_xattr *entry = (struct erofs_xattr *)(grown + x->len);
	memset(entry, 0, span);
	*entry = (struct erofs_xattr){ (uint8_t)name_len, prefix->index, (uint16_t)one->len };
	memcpy(entry->name_and_value, name, name_len);
	memcpy(entry->name_and_value + name_len, one->value, one->len);
	x->len += span;
	return 0;
}

int xattrs_add(struct inode_xattrs *x, const struct tar_xattr *more, unsigned count, struct rt_error *err)
{
	for (unsigned i = 0; i < count; i++) {
		int r = add(x, &more[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

size_t inode_span(const struct inode_xattrs *x)
{
	return sizeof(struct erofs_inode) + (x->len ? EROFS_XATTR_HEADER + x->len : 0);
}

bool inode_takes_tail(const struct inode_xattrs *x, size_t tail)
{
	return tail > 0 && inode_span(x) + tail <= EROFS_BLOCK;
}

void inode_encode(const struct inode_facts *facts, const struct inode_xattrs *x, bool with_tail, unsigned char *out)
{
	struct erofs_inode inode = {
		.format = EROFS_FORMAT(with_tail ? EROFS_INLINE : EROFS_PLAIN),
		.xattr_count = (uint16_t)(x->len ? 1 + x->len / WORD : 0),
		.mode = (uint16_t)facts->mode,
		.size = facts->size,
		.first_block = facts->first_block,
		.number = facts->number,
		.uid = facts->uid,
		.gid = facts->gid,
		.mtime = (uint64_t)facts->mtime.tv_sec,
		.mtime_nsec = (uint32_t)facts->mtime.tv_nsec,
		.nlink = facts->nlink,
	};
	memcpy(out, &inode, sizeof inode);
	if (x->len == 0)
		return;
	memset(out + sizeof inode, 0, EROFS_XATTR_HEADER);
	memcpy(out + sizeof inode + EROFS_XATTR_HEADER, x->bytes, x->len);
}
