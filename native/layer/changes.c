#include "layer/changes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "common/scope.h"
#include "layer/limits.h"

struct changes {
	const struct changes_request *request;
	dev_t dev;
	unsigned depth;
	size_t path_len;
	char path[LAYER_PATH_MAX];
};

struct name {
	char *text;
	bool lower; /* only beneath, and hidden by an opaque directory */
};

/* Of one directory, in memory at a time. */
#define NAMES_MAX (1u << 20)

struct names {
	struct name *list;
	size_t count, cap;
};

static void names_free(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->list[i].text);
	free(n->list);
}

static int compare_names(const void *a, const void *b)
{
	const struct name *x = a, *y = b;
	int order = strcmp(x->text, y->text);
	return order ? order : (int)x->lower - (int)y->lower;
}

static int names_read(struct names *n, int fd, bool lower, struct rt_error *err)
{
	cleanup_fd int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir)
		return rt_fail_errno(err, "read a directory");
	copy = -1;
	for (struct dirent *d; errno = 0, (d = readdir(dir));) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (n->count == NAMES_MAX)
			return rt_fail(err, EFBIG, "a directory of the container's tree holds more than %u names", NAMES_MAX);
		if (n->count == n->cap) {
			size_t cap = n->cap * 2 + 64;
			struct name *grown = realloc(n->list, cap * sizeof *grown);
			if (!grown)
				return rt_fail(err, ENOMEM, "read a directory");
			n->list = grown;
			n->cap = cap;
		}
		char *text = strdup(d->d_name);
		if (!text)
			return rt_fail(err, ENOMEM, "read a directory");
		n->list[n->count++] = (struct name){ .text = text, .lower = lower };
	}
	return errno ? rt_fail_errno(err, "read a directory") : 0;
}

static bool same_owner(const struct idmap *map, uint32_t upper, uint32_t lower)
{
	return upper - (map ? map->base - map->first : 0) == lower;
}

static bool same_directory(const struct idmap *map, const struct stat *upper, const struct stat *lower)
{
	return upper->st_mode == lower->st_mode && same_owner(map, upper->st_uid, lower->st_uid) && same_owner(map, upper->st_gid, lower->st_gid) &&
	       upper->st_mtim.tv_sec == lower->st_mtim.tv_sec && upper->st_mtim.tv_nsec == lower->st_mtim.tv_nsec;
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static bool is_opaque(int fd)
{
	char value;
	return fgetxattr(fd, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

/* A directory in the writable layer and beneath it, -1 where there is none. */
struct place {
	int upper, lower;
	bool opaque;
};

static int walk_level(struct changes *c, const struct place *at, struct rt_error *err);

static int tell(struct changes *c, struct change change, struct rt_error *err)
{
	change.path = c->path;
	return c->request->each(c->request->context, &change, err);
}

/* A directory of the writable layer; `below` is what the layers beneath have at its name, NULL for nothing. */
static int visit_directory(struct changes *c, const struct place *at, const char *name, const struct stat *below, struct rt_error *err)
{
	cleanup_fd int fd = openat(at->upper, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return 0;
	struct change change = { .kind = below ? CHANGE_CHANGED : CHANGE_ADDED, .dir = at->upper, .base = name };
	if (fd < 0 || fstat(fd, &change.st) < 0)
		return rt_fail_errno(err, "open /%.200s", c->path);
	if (change.st.st_dev != c->dev)
		return 0;
	/* Beneath a directory that hides everything, all that is there is the writable layer's. */
	change.opaque = below && (at->opaque || is_opaque(fd));
	cleanup_fd int beneath = below && S_ISDIR(below->st_mode) ? openat(at->lower, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	if (beneath < 0 && below && S_ISDIR(below->st_mode))
		return rt_fail_errno(err, "open /%.200s in the layers", c->path);
	int r = 0;
	if (beneath < 0 || change.opaque || !same_directory(c->request->map, &change.st, below))
		r = tell(c, change, err);
	return r == 0 ? walk_level(c, &(struct place){ fd, beneath, change.opaque }, err) : r;
}

static int visit(struct changes *c, const struct place *at, const struct name *name, struct rt_error *err)
{
	struct stat below = { 0 };
	bool is_below = at->lower >= 0 && fstatat(at->lower, name->text, &below, AT_SYMLINK_NOFOLLOW) == 0;
	if (at->lower >= 0 && !is_below && errno != ENOENT)
		return rt_fail_errno(err, "stat /%.200s in the layers", c->path);
	if (name->lower)
		return tell(c, (struct change){ .kind = CHANGE_DELETED, .dir = -1, .base = name->text, .st = below, .hidden = true }, err);
	struct change change = { .kind = is_below ? CHANGE_CHANGED : CHANGE_ADDED, .dir = at->upper, .base = name->text };
	if (fstatat(at->upper, name->text, &change.st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : rt_fail_errno(err, "stat /%.200s", c->path);
	if (S_ISDIR(change.st.st_mode))
		return visit_directory(c, at, name->text, is_below ? &below : NULL, err);
	if (!is_whiteout(&change.st))
		return tell(c, change, err);
	change.kind = CHANGE_DELETED;
	change.st = below;
	return is_below ? tell(c, change, err) : 0;
}

static int walk_level(struct changes *c, const struct place *at, struct rt_error *err)
{
	__attribute__((cleanup(names_free))) struct names names = { 0 };
	if (c->depth == LAYER_DEPTH_MAX)
		return rt_fail(err, EFBIG, "the container's tree is deeper than %d directories", LAYER_DEPTH_MAX);
	int r = names_read(&names, at->upper, false, err);
	if (r == 0 && at->opaque && at->lower >= 0)
		r = names_read(&names, at->lower, true, err);
	if (r < 0)
		return r;
	if (names.count > 1)
		qsort(names.list, names.count, sizeof *names.list, compare_names);
	const size_t len = c->path_len;
	c->depth++;
	for (size_t i = 0; r == 0 && i < names.count; i++) {
		const struct name *name = &names.list[i];
		/* What stands in both is told as what the writable layer has. */
		if (i > 0 && name->lower && strcmp(name->text, names.list[i - 1].text) == 0)
			continue;
		size_t n = strlen(name->text), start = len + (len > 0);
		if (start + n >= sizeof c->path)
			return rt_fail(err, EFBIG, "a path of the container's tree is longer than %d bytes", LAYER_PATH_MAX - 1);
		if (len > 0)
			c->path[len] = '/';
		memcpy(c->path + start, name->text, n + 1);
		c->path_len = start + n;
		r = visit(c, at, name, err);
	}
	c->depth--;
	c->path_len = len;
	c->path[len] = 0;
	return r;
}

int changes_walk(const struct changes_request *request, struct rt_error *err)
{
	struct changes c = { .request = request };
	struct stat st;
	if (fstat(request->upper, &st) < 0)
		return rt_fail_errno(err, "look at the writable layer");
	c.dev = st.st_dev;
	int r = walk_level(&c, &(struct place){ request->upper, request->lower, false }, err);
	return r > 0 ? 0 : r;
}
