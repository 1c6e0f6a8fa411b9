#include "layer/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "common/fs.h"
#include "common/scope.h"
#include "layer/each.h"
#include "layer/path.h"
#include "layer/tar.h"
#include "layer/tree.h"
#include "layer/walk.h"
#include "layer/whiteout.h"

/* Bytes that any file system gives a file's attributes while it has room at all; ext4 keeps all of them in one block. */
#define XATTRS_ALWAYS_FIT 512

/* A directory's time, to be set when nothing more is put into it. */
struct dir_time {
	char *path;
	struct timespec mtime;
};

struct unpack {
	struct tar_reader tar;
	struct tree tree;
	struct dir_time *dirs;
	size_t dir_count, dir_cap;
	uint64_t entries;
};

static void unpack_free(struct unpack *u)
{
	for (size_t i = 0; i < u->dir_count; i++)
		free(u->dirs[i].path);
	free(u->dirs);
	tree_close(&u->tree);
	tar_close(&u->tar);
}

static int remember_time(struct unpack *u, const char *path, struct timespec mtime, struct rt_error *err)
{
	if (u->dir_count == u->dir_cap) {
		size_t cap = u->dir_cap * 2 + 64;
		struct dir_time *grown = realloc(u->dirs, cap * sizeof *grown);
		if (!grown)
			return rt_fail(err, ENOMEM, "unpack %.200s", path);
		u->dirs = grown;
		u->dir_cap = cap;
	}
	char *copy = strdup(path);
	if (!copy)
		return rt_fail(err, ENOMEM, "unpack %.200s", path);
	u->dirs[u->dir_count++] = (struct dir_time){ copy, mtime };
	return 0;
}

static int set_times(struct unpack *u, struct rt_error *err)
{
	for (size_t i = 0; i < u->dir_count; i++) {
		struct rt_error gone = { 0 };
		cleanup_fd int fd = -1;
		const struct timespec times[2] = { u->dirs[i].mtime, u->dirs[i].mtime };
		/* A later entry may have put something else in the directory's place. */
		if (tree_open_dir(&u->tree, u->dirs[i].path, false, &fd, &gone) < 0)
			continue;
		if (futimens(fd, times) < 0)
			return rt_fail_errno(err, "set the time of %.200s", u->dirs[i].path);
	}
	return 0;
}

/* Owner first, since chown(2) takes set-id bits and capabilities away; attributes after it for the same reason. */
static int set_attributes(int fd, const struct tar_entry *e, struct rt_error *err)
{
	if (fchown(fd, e->uid, e->gid) < 0)
		return rt_fail_errno(err, "chown %.200s", e->path);
	if (fchmod(fd, e->mode) < 0)
		return rt_fail_errno(err, "chmod %.200s", e->path);
	size_t bytes = 0;
	for (unsigned i = 0; i < e->xattr_count; i++) {
		const struct tar_xattr *x = &e->xattrs[i];
		bytes += strlen(x->name) + x->len;
		if (fsetxattr(fd, x->name, x->value, x->len, 0) < 0) {
			/* No space for many means no room in an inode, whatever the disk has left: the layer asks too much. */
			int code = errno == EINVAL ? EPROTO : errno == E2BIG || (errno == ENOSPC && bytes > XATTRS_ALWAYS_FIT) ? EFBIG : errno;
			return rt_fail(err, code, "set %.100s of %.200s", x->name, e->path);
		}
	}
	return 0;
}

static int unpack_file(struct unpack *u, const struct tar_entry *e, int dirfd, const char *base, struct rt_error *err)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	cleanup_fd int fd = openat(dirfd, base, flags, 0600);
	if (fd < 0 && errno == EEXIST) {
		int r = tree_clear(dirfd, base, err);
		if (r < 0)
			return r;
		fd = openat(dirfd, base, flags, 0600);
	}
	if (fd < 0)
		return rt_fail_errno(err, "create %.200s", e->path);
	for (;;) {
		const void *piece;
		size_t len;
		int r = tar_read(&u->tar, &piece, &len, err);
		if (r < 0)
			return r;
		if (len == 0)
			break;
		r = fs_write_all(fd, piece, len);
		if (r < 0)
			return rt_fail(err, r, "write %.200s", e->path);
	}
	int r = set_attributes(fd, e, err);
	const struct timespec times[2] = { e->mtime, e->mtime };
	if (r == 0 && futimens(fd, times) < 0)
		r = rt_fail_errno(err, "set the time of %.200s", e->path);
	return r;
}

static int unpack_directory(struct unpack *u, const struct tar_entry *e, const char *path, int dirfd, const char *base, struct rt_error *err)
{
	cleanup_fd int fd = -1;
	int r = *path ? tree_mkdir(dirfd, base, &fd, err) : tree_open_dir(&u->tree, "", false, &fd, err);
	if (r == 0)
		r = set_attributes(fd, e, err);
	return r < 0 ? r : remember_time(u, path, e->mtime, err);
}

/* Symbolic links and FIFOs: nothing can be opened, so owner and time are set by name. */
static int unpack_special(const struct tar_entry *e, int dirfd, const char *base, struct rt_error *err)
{
	int r = tree_clear(dirfd, base, err);
	if (r < 0)
		return r;
	if (e->type == TAR_SYMLINK) {
		if (!e->link[0])
			return rt_fail(err, EPROTO, "symbolic link to nothing: %.200s", e->path);
		r = symlinkat(e->link, dirfd, base);
	} else {
		r = mknodat(dirfd, base, S_IFIFO | 0600, 0);
	}
	if (r < 0)
		return rt_fail_errno(err, "create %.200s", e->path);
	if (fchownat(dirfd, base, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return rt_fail_errno(err, "chown %.200s", e->path);
	if (e->type == TAR_FIFO && fchmodat(dirfd, base, e->mode, 0) < 0)
		return rt_fail_errno(err, "chmod %.200s", e->path);
	const struct timespec times[2] = { e->mtime, e->mtime };
	if (utimensat(dirfd, base, times, AT_SYMLINK_NOFOLLOW) < 0)
		return rt_fail_errno(err, "set the time of %.200s", e->path);
	return 0;
}

/* A hard link's target is a name in this layer, found by the same rules as any other, and never a directory or a whiteout. */
static int unpack_hardlink(struct unpack *u, const struct tar_entry *e, int dirfd, const char *base, struct rt_error *err)
{
	char target[LAYER_PATH_MAX], parent[LAYER_PATH_MAX];
	int r = path_normalize(e->link, target, err);
	if (r < 0)
		return r;
	unsigned at = path_base(target);
	memcpy(parent, target, at);
	parent[at] = 0;
	cleanup_fd int from = -1;
	r = tree_open_dir(&u->tree, parent, true, &from, err);
	if (r < 0)
		return r;
	struct stat source, there;
	if (!target[at] || fstatat(from, target + at, &source, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(source.st_mode) || S_ISCHR(source.st_mode))
		return rt_fail(err, EPROTO, "hard link %.150s to what this layer does not hold: %.150s", e->path, e->link);
	bool same = fstatat(dirfd, base, &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_dev == source.st_dev && there.st_ino == source.st_ino;
	if (same)
		return 0;
	r = tree_clear(dirfd, base, err);
	if (r < 0)
		return r;
	if (linkat(from, target + at, dirfd, base, 0) < 0) {
		/* What was cleared may have been on the way to the target; more names than the filesystem bears are the layer's doing too. */
		int code = errno == ENOENT || errno == EMLINK ? EPROTO : errno;
		return rt_fail(err, code, "link %.150s to %.150s", e->path, e->link);
	}
	return 0;
}

static int unpack_device(int dirfd, const char *base, struct rt_error *err)
{
	int r = tree_clear(dirfd, base, err);
	return r < 0 ? r : tree_whiteout(dirfd, base, err);
}

static int unpack_entry(void *taker, const struct tar_entry *e, struct rt_error *err)
{
	struct unpack *u = taker;
	char path[LAYER_PATH_MAX];
	const char *base, *hidden;
	int dirfd;
	int r = path_normalize(e->path, path, err);
	if (r < 0)
		return r;
	if (!*path)
		return e->type == TAR_DIRECTORY ? unpack_directory(u, e, path, -1, path, err) : rt_fail(err, EPROTO, "the root is no directory");
	enum whiteout whiteout;
	r = whiteout_parse(path, &whiteout, &hidden, err);
	if (r == 0)
		r = tree_parent(&u->tree, path, &dirfd, &base, err);
	if (r < 0)
		return r;
	if (whiteout == WHITEOUT_IGNORED)
		return 0;
	if (whiteout != WHITEOUT_NONE)
		return whiteout == WHITEOUT_OPAQUE ? tree_set_opaque(dirfd, err) : tree_whiteout(dirfd, hidden, err);
	switch (e->type) {
	case TAR_FILE:
		return unpack_file(u, e, dirfd, base, err);
	case TAR_DIRECTORY:
		return unpack_directory(u, e, path, dirfd, base, err);
	case TAR_HARDLINK:
		return unpack_hardlink(u, e, dirfd, base, err);
	case TAR_DEVICE:
		return unpack_device(dirfd, base, err);
	case TAR_SYMLINK:
	case TAR_FIFO:
		return unpack_special(e, dirfd, base, err);
	}
	return rt_fail(err, EPROTO, "entry of unknown type");
}

int unpack_layer(const struct byte_source *archive, int dir, const struct layer_limits *limits, struct unpack_result *out, struct rt_error *err)
{
	__attribute__((cleanup(unpack_free))) struct unpack u = { 0 };
	tree_init(&u.tree, dir);
	tar_open(&u.tar, archive, limits);
	int r = layer_each(&u.tar, unpack_entry, &u, &u.tree.implied, &u.entries, err);
	if (r == 0)
		r = tar_drain(&u.tar, err);
	if (r == 0)
		r = set_times(&u, err);
	/* A power cut after the layer's commit must not find empty files. */
	if (r == 0 && syncfs(dir) < 0)
		r = rt_fail_errno(err, "write the layer to disk");
	struct walk_usage usage = { 0 };
	if (r == 0)
		r = walk_measure(dir, ".", &usage, err);
	*out = (struct unpack_result){ .bytes = usage.bytes, .entries = u.entries };
	return r;
}
