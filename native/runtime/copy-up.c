#include "runtime/copy-up.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"

#define XATTR_LIST (64u << 10)
#define CHUNK (128u << 10)

static int copy_directory(int from, int to, int depth, dev_t dev);

static int copy_xattrs(int from, int to)
{
	cleanup_free char *names = malloc(XATTR_LIST);
	cleanup_free char *value = malloc(XATTR_LIST);
	if (!names || !value)
		return -ENOMEM;
	ssize_t n = flistxattr(from, names, XATTR_LIST);
	for (ssize_t i = 0; i < n; i += (ssize_t)strlen(names + i) + 1) {
		ssize_t len = fgetxattr(from, names + i, value, XATTR_LIST);
		/* A tmpfs, or a user namespace, may not have all of them. */
		if (len >= 0 && fsetxattr(to, names + i, value, (size_t)len, 0) < 0 && errno != ENOTSUP && errno != EPERM && errno != EINVAL)
			return -errno;
	}
	return 0;
}

/* Mode after owner: a change of owner drops the set-user-id bit. */
static int copy_attributes(int from, int to, const struct stat *st)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };
	if (fchown(to, st->st_uid, st->st_gid) < 0)
		return -errno;
	int r = copy_xattrs(from, to);
	if (r < 0)
		return r;
	return fchmod(to, st->st_mode & 07777) < 0 || futimens(to, times) < 0 ? -errno : 0;
}

static int copy_range(int from, int to, off_t start, off_t end, char *buffer)
{
	while (start < end) {
		size_t want = (uint64_t)(end - start) < CHUNK ? (size_t)(end - start) : CHUNK;
		ssize_t n = retry_eintr(pread(from, buffer, want, start));
		if (n < 0)
			return -errno;
		/* Cut short meanwhile. */
		if (n == 0)
			return 0;
		for (ssize_t done = 0; done < n;) {
			ssize_t w = retry_eintr(pwrite(to, buffer + done, (size_t)(n - done), start + done));
			if (w < 0)
				return -errno;
			done += w;
		}
		start += n;
	}
	return 0;
}

static int copy_content(int from, int to, off_t size)
{
	cleanup_free char *buffer = malloc(CHUNK);
	if (!buffer)
		return -ENOMEM;
	if (ftruncate(to, size) < 0)
		return -errno;
	for (off_t at = 0; at < size;) {
		off_t start = lseek(from, at, SEEK_DATA);
		if (start < 0)
			return errno == ENXIO ? 0 : -errno;
		off_t end = lseek(from, start, SEEK_HOLE);
		int r = end < 0 ? -errno : copy_range(from, to, start, end < size ? end : size, buffer);
		if (r < 0)
			return r;
		at = end;
	}
	return 0;
}

static int copy_file(int dir, int to_dir, const char *name, const struct stat *seen)
{
	struct stat st;
	cleanup_fd int from = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (from < 0 || fstat(from, &st) < 0)
		return -errno;
	/* Exchanged since it was looked at: only what was looked at is copied. */
	if (st.st_ino != seen->st_ino || st.st_dev != seen->st_dev || !S_ISREG(st.st_mode))
		return -EAGAIN;
	cleanup_fd int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return -errno;
	int r = copy_content(from, to, st.st_size);
	return r < 0 ? r : copy_attributes(from, to, &st);
}

static int copy_link(int dir, int to_dir, const char *name, const struct stat *st)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof target - 1);
	if (n < 0)
		return -errno;
	target[n] = 0;
	return symlinkat(target, to_dir, name) < 0 || fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_node(int to_dir, const char *name, const struct stat *st)
{
	if (mknodat(to_dir, name, st->st_mode & ~(mode_t)07000, st->st_rdev) < 0)
		return -errno;
	return fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_entry(int dir, int to_dir, const char *name, int depth, dev_t dev)
{
	struct stat st;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		return copy_file(dir, to_dir, name, &st);
	case S_IFLNK:
		return copy_link(dir, to_dir, name, &st);
	case S_IFSOCK:
		return 0;
	case S_IFDIR:
		break;
	default:
		return copy_node(to_dir, name, &st);
	}
	if (mkdirat(to_dir, name, 0700) < 0)
		return -errno;
	cleanup_fd int from = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_fd int to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return from < 0 || to < 0 ? -errno : copy_directory(from, to, depth + 1, dev);
}

static int copy_directory(int from, int to, int depth, dev_t dev)
{
	struct stat st;
	int r = 0;
	if (depth > COPY_UP_DEPTH)
		return -ELOOP;
	if (fstat(from, &st) < 0)
		return -errno;
	/* The root of another mount: it is empty here. */
	if (st.st_dev == dev) {
		int copy = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		cleanup_dir DIR *d = copy < 0 ? NULL : fdopendir(copy);
		if (!d)
			return -errno;
		for (struct dirent *e; r == 0 && (e = readdir(d));) {
			if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
				r = copy_entry(from, to, e->d_name, depth, dev);
		}
	}
	/* Last: the entries changed its times, and it may be one that cannot be written to. */
	return r < 0 ? r : copy_attributes(from, to, &st);
}

int copy_up(int from, int to, const char *destination, struct rt_error *err)
{
	struct stat st, top;
	cleanup_fd int dir = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int into = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || into < 0 || fstat(dir, &st) < 0 || fstat(into, &top) < 0)
		return rt_fail_errno(err, "copy what is at %s", destination);
	int r = copy_directory(dir, into, 0, st.st_dev);
	/* The mount's own mode was chosen when it was made. */
	if (r == 0 && fchmod(into, top.st_mode & 07777) < 0)
		r = -errno;
	return r < 0 ? rt_fail(err, r, "copy what is at %s", destination) : 0;
}
