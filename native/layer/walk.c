#include "layer/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/scope.h"

/* A directory on the way down: which it is, and the names of its directories yet to visit. */
struct level {
	dev_t dev;
	ino_t ino;
	char *names; /* NUL-terminated, one after the other */
	size_t len, cap, next;
	const char *current;
};

struct walk {
	struct level *levels;
	size_t depth, cap;
	dev_t dev;
	int fd; /* the directory of the last level */
	bool remove;
	struct walk_usage usage;
	uint64_t *seen; /* inodes with several names, a hash set; 0: free */
	size_t seen_count, seen_cap;
};

static void walk_free(struct walk *w)
{
	for (size_t i = 0; i < w->depth; i++)
		free(w->levels[i].names);
	free(w->levels);
	free(w->seen);
	scope_close(&w->fd);
}

static size_t seen_slot(const uint64_t *seen, size_t cap, uint64_t ino)
{
	size_t i = (size_t)(ino * 0x9e3779b97f4a7c15ull >> 20) & (cap - 1);
	while (seen[i] && seen[i] != ino)
		i = (i + 1) & (cap - 1);
	return i;
}

/* 1: met before, 0: not, or -errno. */
static int meet(struct walk *w, uint64_t ino, struct rt_error *err)
{
	if ((w->seen_count + 1) * 2 > w->seen_cap) {
		size_t cap = w->seen_cap ? w->seen_cap * 2 : 256;
		uint64_t *grown = calloc(cap, sizeof *grown);
		if (!grown)
			return rt_fail(err, ENOMEM, "measure a tree");
		for (size_t i = 0; i < w->seen_cap; i++) {
			if (w->seen[i])
				grown[seen_slot(grown, cap, w->seen[i])] = w->seen[i];
		}
		free(w->seen);
		w->seen = grown;
		w->seen_cap = cap;
	}
	size_t slot = seen_slot(w->seen, w->seen_cap, ino);
	if (w->seen[slot])
		return 1;
	w->seen[slot] = ino;
	w->seen_count++;
	return 0;
}

static int count(struct walk *w, const struct stat *st, struct rt_error *err)
{
	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
		int met = meet(w, st->st_ino, err);
		if (met != 0)
			return met < 0 ? met : 0;
	}
	w->usage.bytes += (uint64_t)st->st_blocks * 512;
	w->usage.inodes++;
	return 0;
}

static int push_name(struct level *level, const char *name, struct rt_error *err)
{
	size_t n = strlen(name) + 1;
	if (level->cap - level->len < n) {
		size_t cap = level->cap * 2 + n + 64;
		char *grown = realloc(level->names, cap);
		if (!grown)
			return rt_fail(err, ENOMEM, "walk a tree");
		level->names = grown;
		level->cap = cap;
	}
	memcpy(level->names + level->len, name, n);
	level->len += n;
	return 0;
}

/* Deals with one name of the open directory: files at once, directories later. */
static int visit(struct walk *w, struct level *level, const char *name, unsigned char type, struct rt_error *err)
{
	struct stat st;
	if (type == DT_UNKNOWN || !w->remove) {
		if (fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return errno == ENOENT ? 0 : rt_fail_errno(err, "stat %.200s", name);
		type = S_ISDIR(st.st_mode) ? DT_DIR : DT_REG;
	}
	if (type == DT_DIR)
		return push_name(level, name, err);
	if (!w->remove)
		return count(w, &st, err);
	return unlinkat(w->fd, name, 0) < 0 && errno != ENOENT ? rt_fail_errno(err, "remove %.200s", name) : 0;
}

/* Begins a level with the directory in w->fd. */
static int enter(struct walk *w, const struct stat *st, struct rt_error *err)
{
	if (w->depth == w->cap) {
		size_t cap = w->cap * 2 + 32;
		struct level *grown = realloc(w->levels, cap * sizeof *grown);
		if (!grown)
			return rt_fail(err, ENOMEM, "walk a tree");
		w->levels = grown;
		w->cap = cap;
	}
	struct level *level = &w->levels[w->depth++];
	*level = (struct level){ .dev = st->st_dev, .ino = st->st_ino };
	int r = w->remove ? 0 : count(w, st, err);
	if (r < 0)
		return r;
	int copy = fcntl(w->fd, F_DUPFD_CLOEXEC, 0);
	cleanup_dir DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir) {
		scope_close(&copy);
		return rt_fail_errno(err, "read a directory");
	}
	for (struct dirent *d; r == 0;) {
		errno = 0;
		d = readdir(dir);
		if (!d)
			return errno ? rt_fail_errno(err, "read a directory") : 0;
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			r = visit(w, level, d->d_name, d->d_type, err);
	}
	return r;
}

static int descend(struct walk *w, struct level *level, struct rt_error *err)
{
	level->current = level->names + level->next;
	level->next += strlen(level->current) + 1;
	cleanup_fd int fd = openat(w->fd, level->current, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return rt_fail_errno(err, "open %.200s", level->current);
	if (st.st_dev != w->dev)
		return w->remove ? rt_fail(err, EBUSY, "%.200s is a mount point", level->current) : 0;
	scope_close(&w->fd);
	w->fd = take_fd(&fd);
	return enter(w, &st, err);
}

/* Leaves the last level for the one above. ".." must be the very directory we came from: a tree that is moved while it is walked leads elsewhere. */
static int ascend(struct walk *w, struct rt_error *err)
{
	free(w->levels[--w->depth].names);
	const struct level *above = &w->levels[w->depth - 1];
	cleanup_fd int fd = openat(w->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return rt_fail_errno(err, "leave a directory");
	if (st.st_dev != above->dev || st.st_ino != above->ino)
		return rt_fail(err, ESTALE, "the tree was moved");
	scope_close(&w->fd);
	w->fd = take_fd(&fd);
	if (w->remove && unlinkat(w->fd, above->current, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return rt_fail_errno(err, "remove %.200s", above->current);
	return 0;
}

static int walk_tree(struct walk *w, int dirfd, const char *base, struct rt_error *err)
{
	struct stat st;
	w->fd = openat(dirfd, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (w->fd < 0 || fstat(w->fd, &st) < 0)
		return rt_fail_errno(err, "open %.200s", base);
	w->dev = st.st_dev;
	int r = enter(w, &st, err);
	while (r == 0) {
		struct level *level = &w->levels[w->depth - 1];
		if (level->next < level->len)
			r = descend(w, level, err);
		else if (w->depth > 1)
			r = ascend(w, err);
		else
			break;
	}
	return r;
}

int walk_measure(int dirfd, const char *base, struct walk_usage *out, struct rt_error *err)
{
	__attribute__((cleanup(walk_free))) struct walk w = { .fd = -1 };
	int r = walk_tree(&w, dirfd, base, err);
	*out = w.usage;
	return r;
}

int walk_remove(int dirfd, const char *base, struct rt_error *err)
{
	/* Some filesystems skip names in a directory that shrinks while it is read, so that one pass may leave a few. */
	for (int tries = 0;; tries++) {
		__attribute__((cleanup(walk_free))) struct walk w = { .fd = -1, .remove = true };
		struct rt_error failed = { 0 };
		int r = walk_tree(&w, dirfd, base, &failed);
		if (r == 0 && unlinkat(dirfd, base, AT_REMOVEDIR) < 0)
			r = rt_fail_errno(&failed, "remove %.200s", base);
		if (r == 0)
			return 0;
		if (r != -ENOTEMPTY || tries == 3)
			return rt_fail(err, r, "%s", failed.text);
	}
}
