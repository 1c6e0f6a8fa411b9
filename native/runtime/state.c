#include "runtime/state.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/freezer.h"
#include "runtime/notify.h"

#define STATE_MAX_BYTES (4u << 20)
#define RECORD_PAGE_BYTES 4096u

int state_check_id(const char *id, struct rt_error *err)
{
	size_t n = strlen(id);
	bool ok = n > 0 && n <= 200 && strcmp(id, ".") && strcmp(id, "..");
	for (const char *p = id; ok && *p; p++)
		ok = (isalnum((unsigned char)*p) || strchr("_+-.", *p)) && !((unsigned char)*p & 0x80);
	return ok ? 0 : rt_fail(err, EINVAL, strchr(id, '/') ? "invalid container id: invalid character `/` in the ID \"%s\"" : "invalid container id \"%s\"", id);
}

static int path_of(const char *root, const char *id, char *out, struct rt_error *err)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", root, id);
	return n < 0 || n >= PATH_MAX ? rt_fail(err, ENAMETOOLONG, "state of %s", id) : 0;
}

int state_make(const char *root, const char *id, struct rt_error *err)
{
	char path[PATH_MAX];
	int r = path_of(root, id, path, err);
	if (r < 0)
		return r;
	if (mkdir(path, 0700) < 0) {
		if (errno == EEXIST)
			return rt_fail(err, EEXIST, "container %s exists", id);
		if (errno != ENOENT)
			return rt_fail_errno(err, "create %s", path);
		if ((r = fs_mkdir_p(root, 0700, err)) < 0)
			return r;
		if (mkdir(path, 0700) < 0)
			return rt_fail_errno(err, "create %s", path);
	}
	cleanup_fd int dir = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || retry_eintr(flock(dir, LOCK_EX)) < 0)
		return rt_fail_errno(err, "lock %s", path);
	return take_fd(&dir);
}

int state_lock(int dir, const char *id, struct rt_error *err)
{
	struct stat st;
	if (retry_eintr(flock(dir, LOCK_EX)) < 0 || fstat(dir, &st) < 0)
		return rt_fail_errno(err, "lock the state of %s", id);
	return st.st_nlink == 0;
}

int state_open(const char *root, const char *id, bool exclusive, struct rt_error *err)
{
	char path[PATH_MAX];
	struct stat st;
	int r = path_of(root, id, path, err);
	if (r < 0)
		return r;
	cleanup_fd int dir = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return rt_fail(err, errno, errno == ENOENT ? "container %s does not exist" : "open the state of %s", id);
	if (retry_eintr(flock(dir, exclusive ? LOCK_EX : LOCK_SH)) < 0)
		return rt_fail_errno(err, "lock %s", path);
	/* Removed while this process waited for the lock. */
	if (fstat(dir, &st) < 0 || st.st_nlink == 0)
		return rt_fail(err, ENOENT, "container %s does not exist", id);
	return take_fd(&dir);
}

int state_remove(const char *root, const char *id, int dir, struct rt_error *err)
{
	char path[PATH_MAX];
	int r = path_of(root, id, path, err);
	if (r < 0)
		return r;
	if (unlinkat(dir, STATE_START_SOCKET, 0) < 0 && errno != ENOENT)
		return rt_fail_errno(err, "remove the start socket of %s", id);
	/* state.json last: while it is there, a removal that failed can be tried again. */
	if ((unlinkat(dir, "config.json", 0) < 0 && errno != ENOENT) || (unlinkat(dir, "state.json", 0) < 0 && errno != ENOENT))
		return rt_fail_errno(err, "remove the state of %s", id);
	if (rmdir(path) == 0 || errno == ENOENT)
		return 0;
	notify_remove(dir);
	/* A writer that was killed leaves its temporary file. */
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = copy < 0 ? NULL : fdopendir(copy);
	for (struct dirent *e; d && (e = readdir(d));) {
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			unlinkat(dir, e->d_name, 0);
	}
	return rmdir(path) < 0 ? rt_fail_errno(err, "remove %s", path) : 0;
}

/*
 * In place where that is safe: readers wait for the lock, and one write within a page that covers all there was happens as a whole
 * or not at all. A file system on disk makes a rename over a file write that file out, and then its removal wait for the disk.
 */
static int write_record(int dir, const char *text, size_t len, struct rt_error *err)
{
	struct stat st;
	cleanup_fd int fd = openat(dir, "state.json", O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return rt_fail_errno(err, "write state.json");
	if (len > RECORD_PAGE_BYTES || (size_t)st.st_size > len)
		return fs_write_atomic(dir, "state.json", text, len, 0600, err);
	int r = fs_write_all(fd, text, len);
	return r < 0 ? rt_fail(err, r, "write state.json") : 0;
}

int state_save(int dir, const struct state *s, struct rt_error *err)
{
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	json_out_key(&o, "ociVersion");
	json_out_str(&o, s->oci_version);
	json_out_key(&o, "id");
	json_out_str(&o, s->id);
	json_out_key(&o, "pid");
	json_out_int(&o, s->pid);
	json_out_key(&o, "startTime");
	json_out_uint(&o, s->start_time);
	json_out_key(&o, "bundle");
	json_out_str(&o, s->bundle);
	json_out_key(&o, "rootfs");
	json_out_str(&o, s->rootfs);
	json_out_key(&o, "cgroupsPath");
	json_out_str(&o, s->cgroups_path);
	json_out_key(&o, "created");
	json_out_str(&o, s->created);
	if (s->annotations) {
		json_out_key(&o, "annotations");
		json_out_node(&o, s->annotations);
	}
	if (s->hooks) {
		json_out_key(&o, "hooks");
		json_out_node(&o, s->hooks);
	}
	json_out_close(&o, '}');
	size_t len = o.len;
	cleanup_free char *text = json_out_finish(&o);
	if (!text)
		return rt_fail(err, ENOMEM, "save the state of %s", s->id);
	return write_record(dir, text, len, err);
}

int state_save_config(int dir, const struct config *c, struct rt_error *err)
{
	/* In place: nobody reads it before state.json names a process. */
	cleanup_fd int fd = openat(dir, "config.json", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : fs_write_all(fd, c->text, c->text_len);
	return r < 0 ? rt_fail(err, r, "keep config.json") : 0;
}

char *state_to_json(const struct state *s, enum status now)
{
	struct json_out out = { 0 };
	json_out_open(&out, '{');
	json_out_key(&out, "ociVersion");
	json_out_str(&out, s->oci_version ? s->oci_version : "1.0.2");
	json_out_key(&out, "id");
	json_out_str(&out, s->id);
	json_out_key(&out, "status");
	json_out_str(&out, status_name(now));
	json_out_key(&out, "pid");
	json_out_int(&out, now == STATUS_STOPPED ? 0 : s->pid);
	json_out_key(&out, "bundle");
	json_out_str(&out, s->bundle ? s->bundle : "");
	json_out_key(&out, "rootfs");
	json_out_str(&out, s->rootfs ? s->rootfs : "");
	json_out_key(&out, "created");
	json_out_str(&out, s->created);
	if (s->annotations) {
		json_out_key(&out, "annotations");
		json_out_node(&out, s->annotations);
	}
	json_out_close(&out, '}');
	return json_out_finish(&out);
}

int state_load(int dir, struct state *s, struct rt_error *err)
{
	cleanup_free char *text = NULL;
	size_t len;
	*s = (struct state){ 0 };
	if (faccessat(dir, "state.json", F_OK, 0) < 0 && errno == ENOENT)
		return 0;
	int r = fs_read_file(dir, "state.json", STATE_MAX_BYTES, &text, &len, err);
	/* Its maker ended between making the file and writing it. */
	if (r == 0 && len == 0)
		return 0;
	if (r < 0 || (r = json_parse(text, len, &s->doc, err)) < 0)
		return r;
	const struct json *root = json_root(s->doc);
	int64_t pid = 0;
	s->id = json_str(json_get(root, "id"), NULL);
	s->oci_version = json_str(json_get(root, "ociVersion"), NULL);
	s->bundle = json_str(json_get(root, "bundle"), NULL);
	s->rootfs = json_str(json_get(root, "rootfs"), NULL);
	s->cgroups_path = json_str(json_get(root, "cgroupsPath"), NULL);
	s->created = json_str(json_get(root, "created"), NULL);
	s->annotations = json_get(root, "annotations");
	s->hooks = json_get(root, "hooks");
	if (!json_i64(json_get(root, "pid"), &pid) || !json_u64(json_get(root, "startTime"), &s->start_time))
		return rt_fail(err, EPROTO, "state.json is damaged");
	s->pid = (pid_t)pid;
	return 0;
}

void state_free(struct state *s)
{
	json_free(s->doc);
	s->doc = NULL;
}

uint64_t process_start_time(pid_t pid)
{
	char path[32], buf[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	cleanup_fd int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : retry_eintr(read(fd, buf, sizeof buf - 1));
	if (n <= 0)
		return 0;
	buf[n] = 0;
	/* The name may hold spaces and parentheses; the last one closes it. */
	char *p = strrchr(buf, ')');
	if (!p || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X')
		return 0;
	p += 2;
	for (int field = 3; field < 22 && p; field++) {
		p = strchr(p, ' ');
		p += p != NULL;
	}
	return p ? strtoull(p, NULL, 10) : 0;
}

enum status state_status(int dir, const struct state *s)
{
	if (s->pid == 0)
		return STATUS_CREATING;
	if (process_start_time(s->pid) != s->start_time)
		return STATUS_STOPPED;
	return faccessat(dir, STATE_START_SOCKET, F_OK, 0) == 0 ? STATUS_CREATED : STATUS_RUNNING;
}

enum status state_status_whole(int dir, const struct state *s)
{
	struct rt_error ignored = { 0 };
	struct cg_layout layout;
	enum status now = state_status(dir, s);
	if ((now == STATUS_CREATED || now == STATUS_RUNNING) && s->cgroups_path && cg_detect(&layout, &ignored) == 0 && freezer_is_frozen(&layout, s->cgroups_path))
		return STATUS_PAUSED;
	return now;
}

const char *status_name(enum status s)
{
	static const char *const names[] = { "creating", "created", "running", "paused", "stopped" };
	return names[s];
}

int state_pidfd(const struct state *s)
{
	if (s->pid == 0)
		return -ESRCH;
	cleanup_fd int fd = (int)syscall(SYS_pidfd_open, s->pid, 0);
	if (fd < 0)
		return -errno;
	/* Checked after the open: the pid cannot change hands behind a pidfd. */
	if (process_start_time(s->pid) != s->start_time)
		return -ESRCH;
	return take_fd(&fd);
}
