#include "layer/archive.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "layer/archive-header.h"

#define BLOCK 512
#define ATTRIBUTE_MAX 65536 /* bytes of one value, the kernel's own limit */

struct link {
	uint64_t inode;
	char *path;
};

struct archive {
	const struct changes_request *request;
	const struct layer_limits *limits;
	int out;
	struct sha256 hash;
	uint64_t bytes, entries;
	struct link *links; /* files of several names, a hash set by inode; no path: free */
	size_t link_count, link_cap;
	unsigned char block[64 * 1024];
	char attribute[ATTRIBUTE_MAX];
};

static int put(struct archive *a, const void *bytes, size_t len, struct rt_error *err)
{
	a->bytes += len;
	if (a->bytes > a->limits->max_bytes)
		return rt_fail(err, EFBIG, "the archive is larger than %llu bytes", (unsigned long long)a->limits->max_bytes);
	sha256_update(&a->hash, bytes, len);
	int r = fs_write_all(a->out, bytes, len);
	return r < 0 ? rt_fail(err, r, "write the archive") : 0;
}

static int pad(struct archive *a, struct rt_error *err)
{
	static const unsigned char zeros[BLOCK];
	size_t over = a->bytes % BLOCK;
	return over ? put(a, zeros, BLOCK - over, err) : 0;
}

static struct link *find_link(struct link *links, size_t cap, uint64_t inode)
{
	size_t i = (size_t)(inode * 0x9e3779b97f4a7c15ull >> 20) & (cap - 1);
	while (links[i].path && links[i].inode != inode)
		i = (i + 1) & (cap - 1);
	return &links[i];
}

/* The path under which a file of several names is in the archive already; else remembers this one. */
static int first_name(struct archive *a, uint64_t inode, const char *path, const char **first, struct rt_error *err)
{
	if ((a->link_count + 1) * 2 > a->link_cap) {
		size_t cap = a->link_cap ? a->link_cap * 2 : 256;
		struct link *grown = calloc(cap, sizeof *grown);
		if (!grown)
			return rt_fail(err, ENOMEM, "remember the names of files");
		for (size_t i = 0; i < a->link_cap; i++) {
			if (a->links[i].path)
				*find_link(grown, cap, a->links[i].inode) = a->links[i];
		}
		free(a->links);
		a->links = grown;
		a->link_cap = cap;
	}
	struct link *link = find_link(a->links, a->link_cap, inode);
	*first = link->path;
	if (link->path)
		return 0;
	char *copy = strdup(path);
	if (!copy)
		return rt_fail(err, ENOMEM, "remember the names of files");
	*link = (struct link){ inode, copy };
	a->link_count++;
	return 0;
}

static void archive_free(struct archive **at)
{
	struct archive *a = *at;
	for (size_t i = 0; a && i < a->link_cap; i++)
		free(a->links[i].path);
	free(a ? a->links : NULL);
	free(a);
}

static int put_header(struct archive *a, const struct archive_entry *entry, struct archive_pax *pax, struct rt_error *err)
{
	unsigned char header[BLOCK];
	if (++a->entries > a->limits->max_entries)
		return rt_fail(err, EFBIG, "the archive has more than %llu entries", (unsigned long long)a->limits->max_entries);
	int r = archive_header(entry, pax, header, err);
	if (r == 0 && pax->len > 0) {
		unsigned char extended[BLOCK];
		archive_pax_header(pax, extended);
		r = put(a, extended, sizeof extended, err);
		if (r == 0)
			r = put(a, pax->text, pax->len, err);
		if (r == 0)
			r = pad(a, err);
	}
	return r < 0 ? r : put(a, header, sizeof header, err);
}

/* A file capability that only counts in the container's user namespace counts, beneath an id map, where the map leads. */
static size_t plain_capability(const struct idmap *map, char *value, size_t len)
{
	enum { VERSION2_LEN = 20, VERSION3_LEN = 24 };
	uint32_t root;
	if (!map || len != VERSION3_LEN)
		return len;
	memcpy(&root, value + VERSION2_LEN, sizeof root);
	if (le32toh(root) != map->base)
		return len;
	value[3] = 0x02;
	return VERSION2_LEN;
}

static int add_attributes(struct archive *a, int fd, struct archive_pax *pax, struct rt_error *err)
{
	char names[ATTRIBUTE_MAX];
	ssize_t n = flistxattr(fd, names, sizeof names);
	if (n < 0)
		return errno == ENOTSUP ? 0 : rt_fail_errno(err, "list a file's attributes");
	for (const char *name = names; name < names + n; name += strlen(name) + 1) {
		bool own = strncmp(name, "user.", 5) == 0 && strncmp(name, "user.overlay.", 13) != 0;
		bool capability = strcmp(name, "security.capability") == 0;
		if (!own && !capability)
			continue;
		ssize_t len = fgetxattr(fd, name, a->attribute, sizeof a->attribute);
		if (len < 0)
			return rt_fail_errno(err, "read the attribute %.100s", name);
		char key[300];
		snprintf(key, sizeof key, "SCHILY.xattr.%s", name);
		int r = archive_pax_add(pax, key, a->attribute, capability ? plain_capability(a->request->map, a->attribute, (size_t)len) : (size_t)len, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static uint32_t container_id(const struct idmap *map, uint32_t id)
{
	/* What the host's root made there is the container's root's. */
	if (!map)
		return id;
	return id >= map->base && id - map->base < map->count ? id - map->base + map->first : 0;
}

static int put_content(struct archive *a, int fd, uint64_t size, const char *path, struct rt_error *err)
{
	for (uint64_t left = size; left > 0;) {
		size_t want = left < sizeof a->block ? (size_t)left : sizeof a->block;
		ssize_t n = retry_eintr(read(fd, a->block, want));
		if (n < 0)
			return rt_fail_errno(err, "read /%.200s", path);
		if (n == 0)
			return rt_fail(err, EIO, "/%.200s became shorter while it was read", path);
		int r = put(a, a->block, (size_t)n, err);
		if (r < 0)
			return r;
		left -= (uint64_t)n;
	}
	return pad(a, err);
}

static int put_marker(struct archive *a, const char *path, struct rt_error *err)
{
	cleanup_pax struct archive_pax pax = { 0 };
	return put_header(a, &(struct archive_entry){ .path = path, .type = '0' }, &pax, err);
}

static int put_whiteout(struct archive *a, const struct change *change, struct rt_error *err)
{
	char path[LAYER_PATH_MAX + 8];
	size_t dir = strlen(change->path) - strlen(change->base);
	if (strlen(change->base) + 4 > LAYER_NAME_MAX)
		return rt_fail(err, EFBIG, "the deletion of /%.200s: no whiteout can have so long a name", change->path);
	snprintf(path, sizeof path, "%.*s.wh.%s", (int)dir, change->path, change->base);
	return put_marker(a, path, err);
}

static int read_link(const struct change *change, char target[LAYER_PATH_MAX], struct rt_error *err)
{
	ssize_t n = readlinkat(change->dir, change->base, target, LAYER_PATH_MAX);
	if (n < 0)
		return rt_fail_errno(err, "read the link /%.200s", change->path);
	if (n == LAYER_PATH_MAX)
		return rt_fail(err, EFBIG, "the link /%.200s is too long", change->path);
	target[n] = 0;
	return 0;
}

static char type_of(mode_t mode)
{
	return S_ISDIR(mode) ? '5' : S_ISLNK(mode) ? '2' : S_ISCHR(mode) ? '3' : S_ISBLK(mode) ? '4' : S_ISFIFO(mode) ? '6' : '0';
}

/* A file or directory that is in the writable layer. */
static int put_entry(struct archive *a, const struct change *change, struct rt_error *err)
{
	const struct stat *st = &change->st;
	cleanup_pax struct archive_pax pax = { 0 };
	char target[LAYER_PATH_MAX], path[LAYER_PATH_MAX + 1];
	snprintf(path, sizeof path, "%s%s", change->path, S_ISDIR(st->st_mode) ? "/" : "");
	struct archive_entry entry = {
		.path = path,
		.type = type_of(st->st_mode),
		.mode = st->st_mode & 07777,
		.uid = container_id(a->request->map, st->st_uid),
		.gid = container_id(a->request->map, st->st_gid),
		.mtime = st->st_mtim.tv_sec,
		.device = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode) ? st->st_rdev : 0,
	};
	cleanup_fd int fd = -1;
	int r = 0;
	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
		r = first_name(a, st->st_ino, change->path, &entry.link, err);
		if (r < 0)
			return r;
		if (entry.link) {
			entry.type = '1';
			return put_header(a, &entry, &pax, err);
		}
	}
	if (S_ISLNK(st->st_mode)) {
		entry.link = target;
		r = read_link(change, target, err);
	} else if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) {
		struct stat now;
		fd = openat(change->dir, change->base, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &now) < 0)
			return rt_fail_errno(err, "open /%.200s", change->path);
		if (now.st_ino != st->st_ino || (now.st_mode & S_IFMT) != (st->st_mode & S_IFMT))
			return rt_fail(err, EIO, "/%.200s was replaced while it was read", change->path);
		entry.size = S_ISREG(now.st_mode) ? (uint64_t)now.st_size : 0;
		r = add_attributes(a, fd, &pax, err);
	}
	if (r == 0)
		r = put_header(a, &entry, &pax, err);
	return r == 0 && S_ISREG(st->st_mode) ? put_content(a, fd, entry.size, change->path, err) : r;
}

static int each(void *context, const struct change *change, struct rt_error *err)
{
	struct archive *a = context;
	if (change->hidden || (change->kind != CHANGE_DELETED && S_ISSOCK(change->st.st_mode)))
		return 0;
	if (strncmp(change->base, ".wh.", 4) == 0)
		return rt_fail(err, EPROTO, "/%.200s: in a layer this name would mean a deletion; rename or remove it", change->path);
	if (change->kind == CHANGE_DELETED)
		return put_whiteout(a, change, err);
	int r = put_entry(a, change, err);
	if (r < 0 || !change->opaque)
		return r;
	char marker[LAYER_PATH_MAX + 16];
	snprintf(marker, sizeof marker, "%s/.wh..wh..opq", change->path);
	return put_marker(a, marker, err);
}

int archive_write(const struct changes_request *request, int out, const struct layer_limits *limits, struct archive_result *result, struct rt_error *err)
{
	__attribute__((cleanup(archive_free))) struct archive *a = calloc(1, sizeof *a);
	if (!a)
		return rt_fail(err, ENOMEM, "write an archive");
	struct changes_request own = *request;
	own.each = each;
	own.context = a;
	a->request = request;
	a->limits = limits;
	a->out = out;
	sha256_init(&a->hash);
	int r = changes_walk(&own, err);
	static const unsigned char end[2 * BLOCK];
	if (r == 0)
		r = put(a, end, sizeof end, err);
	if (r < 0)
		return r;
	sha256_text(&a->hash, result->diff_id);
	result->bytes = a->bytes;
	result->entries = a->entries;
	return 0;
}
