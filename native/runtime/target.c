#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/rootfs.h"

#define MAX_LINKS 40 /* as many as the kernel follows */

static int check_type(int fd, const char *path, bool directory, struct rt_error *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return rt_fail_errno(err, "stat %s", path);
	if (directory != (bool)S_ISDIR(st.st_mode))
		return rt_fail(err, directory ? ENOTDIR : EISDIR, "mount point %s", path);
	return 0;
}

/* Makes the last part of `path`, whose parent is open. -EEXIST, without a message, when a dangling link has its name. */
static int make_part(int parent, const char *name, const char *path, bool directory, struct rt_error *err)
{
	int r = directory ? mkdirat(parent, name, 0755) : mknodat(parent, name, S_IFREG | 0644, 0);
	if (r < 0)
		return errno == EEXIST ? -EEXIST : rt_fail_errno(err, "create mount point %s", path);
	int fd = fs_openat2(parent, name, O_PATH | O_NOFOLLOW | (directory ? O_DIRECTORY : 0), 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	return fd < 0 ? rt_fail(err, fd, "open mount point %s", path) : fd;
}

/* A path being walked from the root file system, part by part. */
struct walk {
	char path[PATH_MAX];
	int links; /* dangling ones followed as yet */
};

/*
 * Puts what the dangling link parent/name says into the path, in place of the part that ends at `end`. Only text changes here:
 * the new path is looked up from the root like any other.
 */
static int follow(struct walk *w, int parent, const char *name, size_t start, size_t end)
{
	char target[PATH_MAX], next[PATH_MAX];
	ssize_t n = readlinkat(parent, name, target, sizeof target - 1);
	if (n < 0)
		return -errno;
	if (++w->links > MAX_LINKS)
		return -ELOOP;
	target[n] = 0;
	int len = snprintf(next, sizeof next, "%.*s%s%s", target[0] == '/' ? 0 : (int)start, w->path, target, w->path + end);
	if (len < 0 || len >= (int)sizeof next)
		return -ENAMETOOLONG;
	memcpy(w->path, next, (size_t)len + 1);
	return 0;
}

/* Opens the path, making what is missing. 1 when a link was put into it and the walk must start anew. */
static int make_path(int rootfs, struct walk *w, bool directory, uint64_t resolve, int *out, struct rt_error *err)
{
	char prefix[PATH_MAX], name[NAME_MAX + 1];
	cleanup_fd int parent = fs_openat2(rootfs, ".", O_PATH | O_DIRECTORY, 0, RESOLVE_IN_ROOT);
	if (parent < 0)
		return rt_fail(err, parent, "open the root file system");
	for (const char *p = w->path;;) {
		p += strspn(p, "/");
		size_t n = strcspn(p, "/"), end = (size_t)(p - w->path) + n;
		bool last = w->path[end + strspn(w->path + end, "/")] == 0;
		if (n > NAME_MAX)
			return rt_fail(err, ENAMETOOLONG, "mount point %s", w->path);
		memcpy(prefix, w->path, end);
		prefix[end] = 0;
		/* From the root each time: a ".." or a link in the middle means what it means to the container. */
		int fd = fs_openat2(rootfs, prefix, O_PATH, 0, resolve);
		if (fd == -ENOENT) {
			memcpy(name, p, n);
			name[n] = 0;
			fd = make_part(parent, name, prefix, last ? directory : true, err);
			if (fd == -EEXIST) {
				int r = resolve & RESOLVE_NO_SYMLINKS ? -ELOOP : follow(w, parent, name, (size_t)(p - w->path), end);
				return r < 0 ? rt_fail(err, r, "mount point %s", prefix) : 1;
			}
		} else if (fd < 0) {
			return rt_fail(err, fd, "open mount point %s", prefix);
		}
		if (fd < 0 || last) {
			*out = fd;
			return fd < 0 ? fd : 0;
		}
		scope_close(&parent);
		parent = fd;
		p = w->path + end;
	}
}

static int make_following(int rootfs, const char *path, bool directory, uint64_t resolve, struct rt_error *err)
{
	struct walk w = { .links = 0 };
	int fd = -1, r = 1;
	if (snprintf(w.path, sizeof w.path, "%s", path) >= (int)sizeof w.path)
		return rt_fail(err, ENAMETOOLONG, "mount point %s", path);
	while (r == 1)
		r = make_path(rootfs, &w, directory, resolve, &fd, err);
	return r < 0 ? r : fd;
}

int target_open(int rootfs, const char *path, bool directory, enum target_links links, struct rt_error *err)
{
	uint64_t resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (links == TARGET_REFUSE ? RESOLVE_NO_SYMLINKS : 0);
	if (path[strspn(path, "/")] == 0)
		return rt_fail(err, EINVAL, "the root itself cannot be a mount point");
	cleanup_fd int fd = fs_openat2(rootfs, path, O_PATH, 0, resolve);
	if (fd == -ENOENT)
		fd = make_following(rootfs, path, directory, resolve, err);
	else if (fd == -ELOOP && links == TARGET_REFUSE)
		return rt_fail(err, ELOOP, "mount point %s is a symbolic link in the image", path);
	else if (fd < 0)
		return rt_fail(err, fd, "open mount point %s", path);
	if (fd < 0)
		return fd;
	int r = check_type(fd, path, directory, err);
	return r < 0 ? r : take_fd(&fd);
}
