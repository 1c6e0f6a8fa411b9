#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/rootfs.h"

static int check_type(int fd, const char *path, bool directory, struct rt_error *err)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return rt_fail_errno(err, "stat %s", path);
	if (directory != (bool)S_ISDIR(st.st_mode))
		return rt_fail(err, directory ? ENOTDIR : EISDIR, "mount point %s", path);
	return 0;
}

/* Makes the last part of `path`, whose parent is open. */
static int make_part(int parent, const char *name, const char *path, bool directory, struct rt_error *err)
{
	int r = directory ? mkdirat(parent, name, 0755) : mknodat(parent, name, S_IFREG | 0644, 0);
	if (r < 0)
		return rt_fail_errno(err, "create mount point %s", path);
	int fd = fs_openat2(parent, name, O_PATH | O_NOFOLLOW | (directory ? O_DIRECTORY : 0), 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	return fd < 0 ? rt_fail(err, fd, "open mount point %s", path) : fd;
}

static int make_path(int rootfs, const char *path, bool directory, uint64_t resolve, struct rt_error *err)
{
	char prefix[PATH_MAX];
	cleanup_fd int parent = fs_openat2(rootfs, ".", O_PATH | O_DIRECTORY, 0, RESOLVE_IN_ROOT);
	if (parent < 0)
		return rt_fail(err, parent, "open the root file system");
	for (const char *p = path;;) {
		p += strspn(p, "/");
		size_t n = strcspn(p, "/");
		const char *end = p + n;
		bool last = end[strspn(end, "/")] == 0;
		if ((size_t)(end - path) >= sizeof prefix || n > NAME_MAX)
			return rt_fail(err, ENAMETOOLONG, "mount point %s", path);
		memcpy(prefix, path, (size_t)(end - path));
		prefix[end - path] = 0;
		/* From the root each time: a ".." or a link in the middle means what it means to the container. */
		int fd = fs_openat2(rootfs, prefix, O_PATH, 0, resolve);
		if (fd == -ENOENT) {
			char name[NAME_MAX + 1];
			memcpy(name, p, n);
			name[n] = 0;
			fd = make_part(parent, name, prefix, last ? directory : true, err);
		} else if (fd < 0) {
			return rt_fail(err, fd, "open mount point %s", prefix);
		}
		if (fd < 0 || last)
			return fd;
		scope_close(&parent);
		parent = fd;
		p = end;
	}
}

int target_open(int rootfs, const char *path, bool directory, enum target_links links, struct rt_error *err)
{
	uint64_t resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (links == TARGET_REFUSE ? RESOLVE_NO_SYMLINKS : 0);
	if (path[strspn(path, "/")] == 0)
		return rt_fail(err, EINVAL, "the root itself cannot be a mount point");
	cleanup_fd int fd = fs_openat2(rootfs, path, O_PATH, 0, resolve);
	if (fd == -ENOENT)
		fd = make_path(rootfs, path, directory, resolve, err);
	else if (fd == -ELOOP && links == TARGET_REFUSE)
		return rt_fail(err, ELOOP, "mount point %s is a symbolic link in the image", path);
	else if (fd < 0)
		return rt_fail(err, fd, "open mount point %s", path);
	if (fd < 0)
		return fd;
	int r = check_type(fd, path, directory, err);
	return r < 0 ? r : take_fd(&fd);
}
