#include "layer/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "layer/path.h"

#define LINKS_MAX 40 /* the kernel's own */

/* Makes room for one more of a table. */
static int grow(void **table, uint32_t *capacity, uint32_t count, size_t size, struct rt_error *err)
{
	if (count < *capacity)
		return 0;
	uint32_t wanted = *capacity ? 2 * *capacity : 256;
	void *grown = realloc(*table, wanted * size);
	if (!grown)
		return rt_fail(err, ENOMEM, "keep the layer's names");
	*table = grown;
	*capacity = wanted;
	return 0;
}

/* Pointers into the tables last until the next name is added. */
static int make_room(struct names *n, struct rt_error *err)
{
	int r = grow((void **)&n->all, &n->capacity, n->count, sizeof *n->all, err);
	if (r == 0)
		r = grow((void **)&n->inodes, &n->inode_capacity, n->inode_count, sizeof *n->inodes, err);
	if (r == 0)
		r = grow((void **)&n->directories, &n->directory_capacity, n->directory_count, sizeof *n->directories, err);
	return r;
}

int names_open(struct names *n, uint64_t max, struct rt_error *err)
{
	*n = (struct names){ .max = max < 1u << 26 ? (uint32_t)max + 1 : 1u << 26, .bucket_count = 1024, .last_parent = NAMES_NONE };
	int r = make_room(n, err);
	n->buckets = malloc(n->bucket_count * sizeof *n->buckets);
	if (r < 0 || !n->buckets)
		return rt_fail(err, ENOMEM, "keep the layer's names");
	/* Whoever does not know the seed cannot make names that fall into one bucket. */
	if (getrandom(&n->seed, sizeof n->seed, 0) != sizeof n->seed)
		return rt_fail_errno(err, "seed the index of names");
	memset(n->buckets, 0xff, n->bucket_count * sizeof *n->buckets);
	n->all[0] = (struct name){ .parent = 0, .next = NAMES_NONE, .chain = NAMES_NONE, .kind = NAME_DIRECTORY };
	n->inodes[0] = (struct name_inode){ .nlink = 2 };
	n->directories[0] = (struct name_directory){ .first = NAMES_NONE, .mode = 0755 };
	n->count = n->inode_count = n->directory_count = 1;
	return 0;
}

void names_close(struct names *n)
{
	for (uint32_t i = 0; i < n->directory_count; i++)
		free(n->directories[i].xattrs.bytes);
	free(n->all);
	free(n->inodes);
	free(n->directories);
	free(n->texts);
	free(n->buckets);
}

const char *names_text(const struct names *n, uint32_t id)
{
	return n->texts + n->all[id].text;
}

static uint32_t bucket_of(const struct names *n, uint32_t directory, const char *text, size_t len)
{
	uint64_t h = n->seed ^ (directory + 1) * 0x9e3779b97f4a7c15u;
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = 0;
		memcpy(&word, text + i, len - i < 8 ? len - i : 8);
		unsigned __int128 product = (unsigned __int128)(h ^ word) * (n->seed | 1);
		h = (uint64_t)product ^ (uint64_t)(product >> 64) ^ 0xd6e8feb86659fd93u;
	}
	return (uint32_t)(h ^ h >> 32) & (n->bucket_count - 1);
}

static uint32_t find(const struct names *n, uint32_t directory, const char *text, size_t len)
{
	for (uint32_t id = n->buckets[bucket_of(n, directory, text, len)]; id != NAMES_NONE; id = n->all[id].chain) {
		const struct name *name = &n->all[id];
		if (name->parent == directory && name->len == len && !name->gone && memcmp(names_text(n, id), text, len) == 0)
			return id;
	}
	return NAMES_NONE;
}

uint32_t names_find(const struct names *n, uint32_t directory, const char *base)
{
	return find(n, directory, base, strlen(base));
}

/* Puts `target` before what is left of a path. False when they are too long together. */
static bool prepend(char rest[LAYER_PATH_MAX], const char *target, const char *left)
{
	size_t len = strlen(target), more = strlen(left);
	if (len + more + 2 > LAYER_PATH_MAX)
		return false;
	memmove(rest + len + 1, left, more + 1);
	memcpy(rest, target, len);
	rest[len] = '/';
	return true;
}

uint32_t names_resolve(const struct names *n, const char *path)
{
	char rest[LAYER_PATH_MAX];
	uint32_t at = NAMES_ROOT;
	unsigned links = 0;
	strcpy(rest, path);
	for (char *p = rest; *p;) {
		size_t len = strcspn(p, "/");
		char *next = p + len + (p[len] == '/');
		if (len == 2 && p[0] == '.' && p[1] == '.') {
			at = n->all[at].parent;
		} else if (len > 0 && !(len == 1 && p[0] == '.')) {
			uint32_t found = find(n, at, p, len);
			if (found == NAMES_NONE)
				return NAMES_NONE;
			if (n->all[found].kind == NAME_SYMLINK) {
				const char *target = n->texts + n->inodes[n->all[found].inode].detail;
				if (++links > LINKS_MAX || !prepend(rest, target, next))
					return NAMES_NONE;
				at = *target == '/' ? NAMES_ROOT : at;
				p = rest;
				continue;
			}
			if (n->all[found].kind != NAME_DIRECTORY)
				return NAMES_NONE;
			at = found;
		}
		p = next;
	}
	return at;
}

/* Twice the buckets, when there are more names than buckets. */
static int widen(struct names *n, struct rt_error *err)
{
	uint32_t *grown = realloc(n->buckets, 2ull * n->bucket_count * sizeof *grown);
	if (!grown)
		return rt_fail(err, ENOMEM, "keep the layer's names");
	n->buckets = grown;
	n->bucket_count *= 2;
	memset(grown, 0xff, n->bucket_count * sizeof *grown);
	for (uint32_t id = 1; id < n->count; id++) {
		if (n->all[id].gone)
			continue;
		uint32_t bucket = bucket_of(n, n->all[id].parent, names_text(n, id), n->all[id].len);
		n->all[id].chain = grown[bucket];
		grown[bucket] = id;
	}
	return 0;
}

static int keep_text(struct names *n, const char *text, size_t len, uint32_t *at, struct rt_error *err)
{
	if (len > NAMES_BYTES_MAX - n->text_bytes)
		return rt_fail(err, EFBIG, "the layer's names take more than %u bytes", NAMES_BYTES_MAX);
	while (n->text_capacity - n->text_bytes < len) {
		int r = grow((void **)&n->texts, &n->text_capacity, n->text_capacity, 1, err);
		if (r < 0)
			return r;
	}
	*at = n->text_bytes;
	memcpy(n->texts + *at, text, len);
	n->text_bytes += (uint32_t)len;
	return 0;
}

int names_add(struct names *n, uint32_t directory, const char *base, enum name_kind kind, uint32_t inode, uint32_t *out, struct rt_error *err)
{
	size_t len = strlen(base);
	uint32_t text = 0;
	if (n->count == n->max)
		return rt_fail(err, EFBIG, "the layer holds more than %u names", n->max - 1);
	int r = keep_text(n, base, len, &text, err);
	if (r == 0)
		r = make_room(n, err);
	if (r == 0 && n->count > n->bucket_count)
		r = widen(n, err);
	if (r < 0)
		return r;
	if (inode == NAMES_NONE) {
		inode = n->inode_count++;
		n->inodes[inode] = (struct name_inode){ .nlink = kind == NAME_DIRECTORY ? 2 : 0 };
	}
	uint32_t id = n->count++, bucket = bucket_of(n, directory, base, len);
	struct name_directory *holder = names_directory(n, directory);
	n->all[id] = (struct name){ directory, holder->first, n->buckets[bucket], text, inode, (uint8_t)len, (uint8_t)kind, false };
	holder->first = id;
	n->buckets[bucket] = id;
	if (kind == NAME_DIRECTORY) {
		n->inodes[inode].detail = n->directory_count;
		n->directories[n->directory_count++] = (struct name_directory){ .name = id, .first = NAMES_NONE, .mode = 0755 };
		n->inodes[n->all[directory].inode].nlink++;
	} else {
		n->inodes[inode].nlink++;
	}
	*out = id;
	return 0;
}

int names_set_target(struct names *n, uint32_t id, const char *target, struct rt_error *err)
{
	return keep_text(n, target, strlen(target) + 1, &n->inodes[n->all[id].inode].detail, err);
}

void names_clear(struct names *n, uint32_t top)
{
	n->last_parent = NAMES_NONE;
	n->inodes[n->all[n->all[top].parent].inode].nlink -= n->all[top].kind == NAME_DIRECTORY;
	/* Down to what has nothing beneath it, then up again: no recursion, however deep the tree. */
	for (uint32_t id = top;;) {
		struct name *name = &n->all[id];
		if (name->kind == NAME_DIRECTORY && names_directory(n, id)->first != NAMES_NONE) {
			uint32_t child = names_directory(n, id)->first;
			names_directory(n, id)->first = n->all[child].next;
			id = child;
			continue;
		}
		if (!name->gone && name->kind != NAME_DIRECTORY)
			n->inodes[name->inode].nlink--;
		name->gone = true;
		if (id == top)
			return;
		id = name->parent;
	}
}

int names_mkdir(struct names *n, uint32_t directory, const char *base, uint32_t *out, struct rt_error *err)
{
	uint32_t found = names_find(n, directory, base);
	bool hidden = found != NAMES_NONE && n->all[found].kind == NAME_WHITEOUT;
	*out = found;
	if (found != NAMES_NONE && n->all[found].kind == NAME_DIRECTORY)
		return 0;
	if (found != NAMES_NONE)
		names_clear(n, found);
	int r = names_add(n, directory, base, NAME_DIRECTORY, NAMES_NONE, out, err);
	return r == 0 && hidden ? names_set_opaque(n, *out, err) : r;
}

int names_whiteout(struct names *n, uint32_t directory, const char *base, struct rt_error *err)
{
	uint32_t found = names_find(n, directory, base);
	if (found != NAMES_NONE)
		return n->all[found].kind == NAME_DIRECTORY ? names_set_opaque(n, found, err) : 0;
	return names_add(n, directory, base, NAME_WHITEOUT, NAMES_NONE, &found, err);
}

int names_add_xattrs(struct names *n, uint32_t id, const struct tar_xattr *more, unsigned count, struct rt_error *err)
{
	struct inode_xattrs *x = &names_directory(n, id)->xattrs;
	size_t before = x->len;
	int r = xattrs_add(x, more, count, err);
	n->xattr_bytes = n->xattr_bytes + x->len - before;
	if (r == 0 && n->xattr_bytes > NAMES_XATTRS_MAX)
		r = rt_fail(err, EFBIG, "the layer's directories have more than %u bytes of extended attributes", NAMES_XATTRS_MAX);
	return r;
}

int names_set_opaque(struct names *n, uint32_t id, struct rt_error *err)
{
	static const struct tar_xattr opaque = { "trusted.overlay.opaque", "y", 1 };
	return names_add_xattrs(n, id, &opaque, 1, err);
}

/* Makes the missing directories of `path` one by one, whiteouts among them giving way. */
static int make_parents(struct names *n, const char *path, uint32_t *out, struct rt_error *err)
{
	char prefix[LAYER_PATH_MAX];
	uint32_t at = NAMES_ROOT;
	for (const char *p = path; *p;) {
		size_t len = strcspn(p, "/");
		size_t end = (size_t)(p - path) + len;
		memcpy(prefix, path, end);
		prefix[end] = 0;
		uint32_t next = names_resolve(n, prefix);
		if (next == NAMES_NONE) {
			const char *base = prefix + (p - path);
			uint32_t there = names_find(n, at, base);
			if (there != NAMES_NONE && n->all[there].kind != NAME_WHITEOUT)
				return rt_fail(err, EPROTO, "a parent is no directory: %.200s", path);
			int r = names_mkdir(n, at, base, &next, err);
			if (r < 0)
				return r;
			n->implied++;
		}
		at = next;
		p += len + (p[len] == '/');
	}
	*out = at;
	return 0;
}

int names_parent(struct names *n, const char *path, uint32_t *directory, const char **base, struct rt_error *err)
{
	char parent[LAYER_PATH_MAX];
	unsigned at = path_base(path);
	unsigned len = at ? at - 1 : 0;
	memcpy(parent, path, len);
	parent[len] = 0;
	*base = path + at;
	if (n->last_parent == NAMES_NONE || strcmp(parent, n->last_path) != 0) {
		uint32_t found = names_resolve(n, parent);
		if (found == NAMES_NONE) {
			int r = make_parents(n, parent, &found, err);
			if (r < 0)
				return r;
		}
		n->last_parent = found;
		strcpy(n->last_path, parent);
	}
	*directory = n->last_parent;
	return 0;
}
