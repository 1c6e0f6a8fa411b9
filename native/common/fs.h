/*
 * Files: whole reads, single writes, durable replacement, and openat2.
 * Every descriptor opened here is O_CLOEXEC. dirfd may be AT_FDCWD.
 */
#ifndef BERTH_COMMON_FS_H
#define BERTH_COMMON_FS_H

#include <linux/openat2.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

/* openat2(2); O_CLOEXEC is added. Returns the descriptor or -errno. Retries EAGAIN, which a racing rename causes. */
must_check int fs_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);

/* Reads a whole file of at most max bytes into a NUL-terminated buffer, the caller's to free. len may be NULL. EFBIG when longer. */
must_check int fs_read_file(int dirfd, const char *path, size_t max, char **out, size_t *len, struct rt_error *err);
/* The same from an open descriptor; `path` is for messages. */
must_check int fs_read_fd(int fd, const char *path, size_t max, char **out, size_t *len, struct rt_error *err);

/* Reads one decimal number; "max" reads as UINT64_MAX. */
must_check int fs_read_u64(int dirfd, const char *path, uint64_t *out, struct rt_error *err);

/* Writes text with one write(2) to an existing file, as cgroup and proc files want it. Returns 0 or -errno, with no message. */
must_check int fs_write_at(int dirfd, const char *path, const char *text);

/* Creates or replaces dirfd/name: a temporary file beside it, fsync, rename, fsync of the directory. Either the old or the new content survives a crash. */
must_check int fs_write_durable(int dirfd, const char *name, const char *text, size_t len, mode_t mode, struct rt_error *err);

/* The same without the fsyncs: atomic to readers, not to power cuts (for state that dies with the machine, on tmpfs). */
must_check int fs_write_atomic(int dirfd, const char *name, const char *text, size_t len, mode_t mode, struct rt_error *err);

/* mkdir -p of an absolute path, new directories with `mode`. */
must_check int fs_mkdir_p(const char *path, mode_t mode, struct rt_error *err);

/* Writes all bytes, across short writes and signals. Returns 0 or -errno. */
must_check int fs_write_all(int fd, const char *bytes, size_t len);

#endif
