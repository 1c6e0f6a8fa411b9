#include "layer/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layer/each.h"
#include "layer/erofs-image.h"
#include "layer/names.h"
#include "layer/pack-directories.h"
#include "layer/path.h"
#include "layer/tar.h"
#include "layer/whiteout.h"

struct pack {
	struct tar_reader tar;
	struct names names;
	struct erofs_image image;
	uint64_t entries;
	unsigned char *item; /* the inode being made; holds whatever one can be */
};

#define ITEM_MAX (sizeof(struct erofs_inode) + EROFS_XATTR_HEADER + (256u << 10) + EROFS_BLOCK)

static void pack_free(struct pack *p)
{
	free(p->item);
	image_close(&p->image);
	names_close(&p->names);
	tar_close(&p->tar);
}

static void xattrs_free(struct inode_xattrs *x)
{
	free(x->bytes);
}

/* Takes the entry's content to the image; of its end, what fills no block, up to `tail_len` bytes come to `tail` instead. */
static int copy_content(struct pack *p, uint64_t size, unsigned char *tail, size_t tail_len, struct rt_error *err)
{
	uint64_t body = size - tail_len;
	size_t held = 0;
	for (;;) {
		const void *bytes;
		size_t len;
		int r = tar_read(&p->tar, &bytes, &len, err);
		if (r < 0)
			return r;
		if (len == 0)
			break;
		size_t part = len < body ? len : (size_t)body;
		r = image_write(&p->image, bytes, part, err);
		if (r < 0)
			return r;
		body -= part;
		memcpy(tail + held, (const char *)bytes + part, len - part);
		held += len - part;
	}
	return image_end_content(&p->image, err);
}

/* Writes one inode whose content is the entry's next `size` bytes, or `content` when that is not NULL. */
static int put_inode(struct pack *p, const struct tar_entry *e, mode_t type, uint64_t size, const char *content, uint32_t id, struct rt_error *err)
{
	__attribute__((cleanup(xattrs_free))) struct inode_xattrs xattrs = { 0 };
	/* As on a disk, links and pipes have no attributes. */
	int r = S_ISREG(type) ? xattrs_add(&xattrs, e->xattrs, e->xattr_count, err) : 0;
	if (r < 0)
		return r;
	const size_t span = inode_span(&xattrs);
	size_t tail = (size_t)(size % EROFS_BLOCK);
	tail = inode_takes_tail(&xattrs, tail) ? tail : 0;
	const uint32_t first = image_next_block(&p->image);
	if (!content) {
		r = copy_content(p, size, p->item + span, tail, err);
	} else {
		r = image_write(&p->image, content, (size_t)size - tail, err);
		memcpy(p->item + span, content + size - tail, tail);
		if (r == 0)
			r = image_end_content(&p->image, err);
	}
	struct name_inode *inode = &p->names.inodes[p->names.all[id].inode];
	const struct inode_facts facts = {
		.mode = type | e->mode,
		.uid = e->uid,
		.gid = e->gid,
		.size = size,
		.mtime = e->mtime,
		.first_block = S_ISREG(type) || S_ISLNK(type) ? (size > tail ? first : EROFS_NO_BLOCK) : 0,
		.number = p->names.all[id].inode + 1,
		.nlink = 1,
	};
	inode_encode(&facts, &xattrs, tail > 0, p->item);
	return r < 0 ? r : image_place(&p->image, p->item, span + tail, &inode->at, err);
}

/* Makes a name free for something new. */
static int add_anew(struct pack *p, uint32_t directory, const char *base, enum name_kind kind, uint32_t inode, uint32_t *id, struct rt_error *err)
{
	uint32_t there = names_find(&p->names, directory, base);
	if (there != NAMES_NONE)
		names_clear(&p->names, there);
	return names_add(&p->names, directory, base, kind, inode, id, err);
}

static int pack_directory(struct pack *p, const struct tar_entry *e, uint32_t directory, const char *base, struct rt_error *err)
{
	uint32_t id = NAMES_ROOT;
	int r = *base ? names_mkdir(&p->names, directory, base, &id, err) : 0;
	if (r == 0)
		r = names_add_xattrs(&p->names, id, e->xattrs, e->xattr_count, err);
	if (r < 0)
		return r;
	struct name_directory *d = names_directory(&p->names, id);
	d->mode = e->mode;
	d->uid = e->uid;
	d->gid = e->gid;
	d->mtime = e->mtime;
	return 0;
}

static int pack_special(struct pack *p, const struct tar_entry *e, uint32_t directory, const char *base, struct rt_error *err)
{
	uint32_t id;
	const bool is_link = e->type == TAR_SYMLINK;
	if (is_link && !e->link[0])
		return rt_fail(err, EPROTO, "symbolic link to nothing: %.200s", e->path);
	int r = add_anew(p, directory, base, is_link ? NAME_SYMLINK : NAME_FIFO, NAMES_NONE, &id, err);
	if (r < 0 || !is_link)
		return r < 0 ? r : put_inode(p, e, S_IFIFO, 0, "", id, err);
	r = names_set_target(&p->names, id, e->link, err);
	if (r < 0)
		return r;
	struct tar_entry link = { .mode = 0777, .uid = e->uid, .gid = e->gid, .mtime = e->mtime };
	return put_inode(p, &link, S_IFLNK, strlen(e->link), e->link, id, err);
}

/* A hard link's target is a name in this layer, found by the same rules as any other, and never a directory or a whiteout. */
static int pack_hardlink(struct pack *p, const struct tar_entry *e, uint32_t directory, const char *base, struct rt_error *err)
{
	char target[LAYER_PATH_MAX], parent[LAYER_PATH_MAX];
	int r = path_normalize(e->link, target, err);
	if (r < 0)
		return r;
	unsigned at = path_base(target);
	memcpy(parent, target, at);
	parent[at] = 0;
	uint32_t holder = names_resolve(&p->names, parent);
	uint32_t source = holder != NAMES_NONE && target[at] ? names_find(&p->names, holder, target + at) : NAMES_NONE;
	/* A copy: adding a name may move the table. */
	const struct name found = p->names.all[source != NAMES_NONE ? source : NAMES_ROOT];
	if (found.kind == NAME_DIRECTORY || found.kind == NAME_WHITEOUT)
		return rt_fail(err, EPROTO, "hard link %.150s to what this layer does not hold: %.150s", e->path, e->link);
	uint32_t there = names_find(&p->names, directory, base);
	if (there != NAMES_NONE && p->names.all[there].inode == found.inode)
		return 0;
	if (there != NAMES_NONE)
		names_clear(&p->names, there);
	/* What was cleared may have been on the way to the target. */
	if (p->names.all[source].gone)
		return rt_fail(err, EPROTO, "link %.150s to %.150s: it replaces what it is a link to", e->path, e->link);
	return names_add(&p->names, directory, base, (enum name_kind)found.kind, found.inode, &there, err);
}

static int pack_entry(void *taker, const struct tar_entry *e, struct rt_error *err)
{
	struct pack *p = taker;
	char path[LAYER_PATH_MAX];
	const char *base, *hidden;
	uint32_t directory, id;
	int r = path_normalize(e->path, path, err);
	if (r < 0)
		return r;
	if (!*path)
		return e->type == TAR_DIRECTORY ? pack_directory(p, e, NAMES_ROOT, "", err) : rt_fail(err, EPROTO, "the root is no directory");
	enum whiteout whiteout;
	r = whiteout_parse(path, &whiteout, &hidden, err);
	if (r == 0)
		r = names_parent(&p->names, path, &directory, &base, err);
	if (r < 0)
		return r;
	if (whiteout == WHITEOUT_IGNORED)
		return 0;
	if (whiteout != WHITEOUT_NONE)
		return whiteout == WHITEOUT_OPAQUE ? names_set_opaque(&p->names, directory, err) : names_whiteout(&p->names, directory, hidden, err);
	switch (e->type) {
	case TAR_FILE:
		r = add_anew(p, directory, base, NAME_FILE, NAMES_NONE, &id, err);
		return r < 0 ? r : put_inode(p, e, S_IFREG, e->size, NULL, id, err);
	case TAR_DIRECTORY:
		return pack_directory(p, e, directory, base, err);
	case TAR_HARDLINK:
		return pack_hardlink(p, e, directory, base, err);
	case TAR_DEVICE:
		return add_anew(p, directory, base, NAME_WHITEOUT, NAMES_NONE, &id, err);
	case TAR_SYMLINK:
	case TAR_FIFO:
		return pack_special(p, e, directory, base, err);
	}
	return rt_fail(err, EPROTO, "entry of unknown type");
}

int pack_layer(const struct byte_source *archive, int image, const struct layer_limits *limits, struct pack_result *out, struct rt_error *err)
{
	__attribute__((cleanup(pack_free))) struct pack p = { 0 };
	tar_open(&p.tar, archive, limits);
	int r = names_open(&p.names, limits->max_entries, err);
	if (r == 0)
		r = image_open(&p.image, image, err);
	p.item = malloc(ITEM_MAX);
	if (r == 0 && !p.item)
		r = rt_fail(err, ENOMEM, "pack the layer");
	if (r == 0)
		r = layer_each(&p.tar, pack_entry, &p, &p.names.implied, &p.entries, err);
	if (r == 0)
		r = tar_drain(&p.tar, err);
	if (r == 0)
		r = pack_directories(&p.names, &p.image, err);
	/* A power cut after the layer's commit must not find an empty file. */
	if (r == 0 && fsync(image) < 0)
		r = rt_fail_errno(err, "write the image to disk");
	*out = (struct pack_result){ .bytes = (uint64_t)image_next_block(&p.image) * EROFS_BLOCK, .entries = p.entries };
	return r;
}
