#include "layer/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "common/fs.h"
#include "common/scope.h"
#include "layer/path.h"
#include "layer/walk.h"

#define IN_TREE (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
#define DIRECTORY (O_RDONLY | O_DIRECTORY)

void tree_init(struct tree *t, int root)
{
	*t = (struct tree){ .root = root, .parent = -1 };
}

void tree_close(struct tree *t)
{
	scope_close(&t->parent);
	t->parent = -1;
}

static int open_dir(struct tree *t, const char *path, uint64_t flags)
{
	return fs_openat2(t->root, *path ? path : ".", DIRECTORY | flags, 0, IN_TREE);
}

/* Whether the layer, not the machine, is the reason why a path of it does not open. */
static bool is_layers_fault(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EXDEV || r == -ENAMETOOLONG;
}

int tree_open_dir(struct tree *t, const char *path, bool follow, int *out, struct rt_error *err)
{
	*out = open_dir(t, path, follow ? 0 : O_NOFOLLOW);
	return *out < 0 ? rt_fail(err, is_layers_fault(*out) ? EPROTO : *out, "no such directory: %.200s", path) : 0;
}

int tree_kind(int dirfd, const char *base, enum tree_kind *out, struct rt_error *err)
{
	struct stat st;
	*out = TREE_NONE;
	if (fstatat(dirfd, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : rt_fail_errno(err, "stat %.200s", base);
	*out = S_ISDIR(st.st_mode) ? TREE_DIRECTORY : S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0) ? TREE_WHITEOUT : TREE_OTHER;
	return 0;
}

int tree_clear(int dirfd, const char *base, struct rt_error *err)
{
	enum tree_kind kind;
	int r = tree_kind(dirfd, base, &kind, err);
	if (r < 0 || kind == TREE_NONE)
		return r;
	if (kind == TREE_DIRECTORY)
		return walk_remove(dirfd, base, err);
	return unlinkat(dirfd, base, 0) < 0 ? rt_fail_errno(err, "remove %.200s", base) : 0;
}

int tree_set_opaque(int dirfd, struct rt_error *err)
{
	if (fsetxattr(dirfd, "trusted.overlay.opaque", "y", 1, 0) < 0)
		return rt_fail_errno(err, "mark a directory opaque");
	return 0;
}

int tree_whiteout(int dirfd, const char *base, struct rt_error *err)
{
	enum tree_kind kind;
	int r = tree_kind(dirfd, base, &kind, err);
	if (r < 0)
		return r;
	if (kind == TREE_DIRECTORY) {
		cleanup_fd int fd = fs_openat2(dirfd, base, DIRECTORY | O_NOFOLLOW, 0, 0);
		return fd < 0 ? rt_fail(err, fd, "open %.200s", base) : tree_set_opaque(fd, err);
	}
	if (kind == TREE_NONE && mknodat(dirfd, base, S_IFCHR, makedev(0, 0)) < 0)
		return rt_fail_errno(err, "make the whiteout of %.200s", base);
	return 0;
}

int tree_mkdir(int dirfd, const char *base, int *out, struct rt_error *err)
{
	enum tree_kind before = TREE_NONE;
	int r = 0;
	if (mkdirat(dirfd, base, 0755) < 0) {
		if (errno != EEXIST)
			return rt_fail_errno(err, "make directory %.200s", base);
		r = tree_kind(dirfd, base, &before, err);
		if (r == 0 && before != TREE_DIRECTORY)
			r = tree_clear(dirfd, base, err);
		if (r < 0)
			return r;
		if (before != TREE_DIRECTORY && mkdirat(dirfd, base, 0755) < 0)
			return rt_fail_errno(err, "make directory %.200s", base);
	}
	cleanup_fd int fd = fs_openat2(dirfd, base, DIRECTORY | O_NOFOLLOW, 0, 0);
	if (fd < 0)
		return rt_fail(err, fd, "open %.200s", base);
	if (before == TREE_WHITEOUT)
		r = tree_set_opaque(fd, err);
	if (r == 0)
		*out = take_fd(&fd);
	return r;
}

/* Makes the missing components of `path` one by one, whiteouts among them giving way. */
static int make_parents(struct tree *t, const char *path, int *out, struct rt_error *err)
{
	char prefix[LAYER_PATH_MAX];
	cleanup_fd int at = open_dir(t, "", 0);
	if (at < 0)
		return rt_fail(err, at, "open the layer's root");
	for (const char *p = path; *p;) {
		const char *end = strchrnul(p, '/');
		char name[LAYER_NAME_MAX + 1];
		memcpy(name, p, (size_t)(end - p));
		name[end - p] = 0;
		memcpy(prefix, path, (size_t)(end - path));
		prefix[end - path] = 0;
		int next = open_dir(t, prefix, 0);
		if (next == -ENOENT || next == -ENOTDIR) {
			enum tree_kind kind;
			int r = tree_kind(at, name, &kind, err);
			if (r == 0 && kind == TREE_OTHER)
				r = rt_fail(err, EPROTO, "a parent is no directory: %.200s", path);
			if (r == 0)
				r = tree_mkdir(at, name, &next, err);
			if (r < 0)
				return r;
			t->implied++;
		} else if (next < 0) {
			return rt_fail(err, is_layers_fault(next) ? EPROTO : next, "open %.200s", prefix);
		}
		close(at);
		at = next;
		p = *end ? end + 1 : end;
	}
	*out = take_fd(&at);
	return 0;
}

int tree_parent(struct tree *t, const char *path, int *dirfd, const char **base, struct rt_error *err)
{
	char parent[LAYER_PATH_MAX];
	unsigned at = path_base(path);
	unsigned len = at ? at - 1 : 0;
	memcpy(parent, path, len);
	parent[len] = 0;
	*base = path + at;
	if (t->parent < 0 || strcmp(parent, t->parent_path) != 0) {
		tree_close(t);
		int fd = open_dir(t, parent, 0);
		if (fd == -ENOENT || fd == -ENOTDIR) {
			int r = make_parents(t, parent, &fd, err);
			if (r < 0)
				return r;
		} else if (fd < 0) {
			return rt_fail(err, is_layers_fault(fd) ? EPROTO : fd, "open %.200s", parent);
		}
		t->parent = fd;
		strcpy(t->parent_path, parent);
	}
	*dirfd = t->parent;
	return 0;
}
