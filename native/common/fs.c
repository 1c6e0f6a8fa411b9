#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/scope.h"

#define OPENAT2_TRIES 64

int fs_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve };
	for (int i = 0; i < OPENAT2_TRIES; i++) {
		long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

int fs_read_fd(int fd, const char *path, size_t max, char **out, size_t *len, struct rt_error *err)
{
	struct stat st;
	size_t cap = 4096;
	/* One byte more than the file holds: then one read meets the end. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
		cap = (size_t)st.st_size < max ? (size_t)st.st_size + 1 : max + 1;
	cleanup_free char *buf = malloc(cap + 1);
	if (!buf)
		return rt_fail(err, ENOMEM, "read %s", path);
	size_t n = 0;
	for (;;) {
		if (n == cap) {
			cap = cap * 2 > max + 1 ? max + 1 : cap * 2;
			char *grown = n >= cap ? NULL : realloc(buf, cap + 1);
			if (!grown)
				return rt_fail(err, n >= cap ? EFBIG : ENOMEM, "read %s", path);
			buf = grown;
		}
		ssize_t r = retry_eintr(read(fd, buf + n, cap - n));
		if (r < 0)
			return rt_fail_errno(err, "read %s", path);
		if (r == 0)
			break;
		n += (size_t)r;
	}
	if (n > max)
		return rt_fail(err, EFBIG, "read %s", path);
	buf[n] = 0;
	*out = take_ptr(buf);
	if (len)
		*len = n;
	return 0;
}

int fs_read_file(int dirfd, const char *path, size_t max, char **out, size_t *len, struct rt_error *err)
{
	cleanup_fd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return rt_fail_errno(err, "open %s", path);
	return fs_read_fd(fd, path, max, out, len, err);
}

int fs_read_u64(int dirfd, const char *path, uint64_t *out, struct rt_error *err)
{
	char buf[64];
	cleanup_fd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return rt_fail_errno(err, "open %s", path);
	ssize_t n = retry_eintr(read(fd, buf, sizeof buf - 1));
	if (n < 0)
		return rt_fail_errno(err, "read %s", path);
	buf[n] = 0;
	if (!strncmp(buf, "max", 3)) {
		*out = UINT64_MAX;
		return 0;
	}
	char *end;
	errno = 0;
	*out = strtoull(buf, &end, 10);
	if (end == buf || errno)
		return rt_fail(err, EPROTO, "%s holds no number", path);
	return 0;
}

int fs_write_at(int dirfd, const char *path, const char *text)
{
	cleanup_fd int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	size_t len = strlen(text);
	ssize_t n = retry_eintr(write(fd, text, len));
	return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

int fs_write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = retry_eintr(write(fd, bytes, len));
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

static int replace(int dirfd, const char *name, const char *text, size_t len, mode_t mode, bool durable, struct rt_error *err)
{
	char tmp[NAME_MAX + 1];
	int n = snprintf(tmp, sizeof tmp, ".%s.%d.tmp", name, getpid());
	if (n < 0 || n >= (int)sizeof tmp)
		return rt_fail(err, ENAMETOOLONG, "write %s", name);
	cleanup_fd int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return rt_fail_errno(err, "create %s", tmp);
	int r = fs_write_all(fd, text, len);
	if (r == 0 && durable && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dirfd, tmp, dirfd, name) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dirfd, tmp, 0);
		return rt_fail(err, r, "write %s", name);
	}
	if (!durable)
		return 0;
	cleanup_fd int dir = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fsync(dir) < 0)
		return rt_fail_errno(err, "sync the directory of %s", name);
	return 0;
}

int fs_write_durable(int dirfd, const char *name, const char *text, size_t len, mode_t mode, struct rt_error *err)
{
	return replace(dirfd, name, text, len, mode, true, err);
}

int fs_write_atomic(int dirfd, const char *name, const char *text, size_t len, mode_t mode, struct rt_error *err)
{
	return replace(dirfd, name, text, len, mode, false, err);
}

int fs_mkdir_p(const char *path, mode_t mode, struct rt_error *err)
{
	/* The common case is one missing leaf, or none. */
	if (mkdir(path, mode) == 0 || errno == EEXIST)
		return 0;
	char buf[PATH_MAX];
	size_t len = strlen(path);
	if (len >= sizeof buf)
		return rt_fail(err, ENAMETOOLONG, "mkdir %s", path);
	memcpy(buf, path, len + 1);
	for (char *p = buf + 1;; p++) {
		if (*p != '/' && *p != 0)
			continue;
		char kept = *p;
		*p = 0;
		if (mkdir(buf, mode) < 0 && errno != EEXIST)
			return rt_fail_errno(err, "mkdir %s", buf);
		*p = kept;
		if (!kept)
			return 0;
	}
}
