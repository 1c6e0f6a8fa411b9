#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/cgroups.h"

#define MAX_DEPTH 64
#define KILL_ROUNDS 100

typedef int (*visit)(int dirfd, const char *name, void *arg);

/* Calls fn for every cgroup below (and with) dirfd/name, children first. The first error ends the walk. */
static int walk(int dirfd, const char *name, int depth, visit fn, void *arg)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	cleanup_dir DIR *d = fdopendir(fd);
	if (!d) {
		int r = -errno;
		close(fd);
		return r;
	}
	int r = 0;
	for (struct dirent *e; r == 0 && (e = readdir(d));) {
		if (e->d_type == DT_DIR && strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			r = depth < MAX_DEPTH ? walk(fd, e->d_name, depth + 1, fn, arg) : -ELOOP;
	}
	return r < 0 ? r : fn(dirfd, name, arg);
}

static int remove_one(int dirfd, const char *name, void *arg)
{
	(void)arg;
	return unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

struct signal_walk {
	int sig;
	int seen;
};

/* Calls fn for each process of one cgroup. */
static int each_process(int dirfd, const char *name, int (*fn)(pid_t pid, void *arg), void *arg)
{
	struct rt_error ignored = { 0 };
	cleanup_free char *text = NULL;
	char path[NAME_MAX + 16];
	snprintf(path, sizeof path, "%s/cgroup.procs", name);
	int r = fs_read_file(dirfd, path, 16u << 20, &text, NULL, &ignored);
	if (r < 0)
		return r == -ENOENT || r == -ENODEV ? 0 : r;
	for (char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
		pid_t pid = (pid_t)strtol(p, NULL, 10);
		/* 0 stands for a process outside this pid namespace. */
		if (pid > 1 && (r = fn(pid, arg)) < 0)
			return r;
	}
	return 0;
}

static int signal_process(pid_t pid, void *arg)
{
	struct signal_walk *w = arg;
	w->seen++;
	return kill(pid, w->sig) < 0 && errno != ESRCH ? -errno : 0;
}

static int signal_one(int dirfd, const char *name, void *arg)
{
	return each_process(dirfd, name, signal_process, arg);
}

struct process_list {
	pid_t *pids;
	size_t count;
};

static int list_process(pid_t pid, void *arg)
{
	struct process_list *l = arg;
	pid_t *grown = reallocarray(l->pids, l->count + 1, sizeof *grown);
	if (!grown)
		return -ENOMEM;
	l->pids = grown;
	l->pids[l->count++] = pid;
	return 0;
}

static int list_one(int dirfd, const char *name, void *arg)
{
	return each_process(dirfd, name, list_process, arg);
}

static void pause_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	nanosleep(&t, NULL);
}

static long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int remove_dir(const char *dir, long deadline, struct rt_error *err)
{
	if (rmdir(dir) == 0 || errno == ENOENT)
		return 0;
	/* Zombies and dying processes hold a cgroup for a moment. */
	for (long wait = 1;; wait = wait < 50 ? wait * 2 : 50) {
		int r = walk(AT_FDCWD, dir, 0, remove_one, NULL);
		if (r != -EBUSY)
			return r < 0 ? rt_fail(err, r, "remove cgroup %s", dir) : 0;
		if (now_ms() >= deadline)
			return rt_fail(err, EBUSY, "remove cgroup %s", dir);
		pause_ms(wait);
	}
}

int cgroups_remove_empty(const struct cg_layout *l, const char *path, struct rt_error *err)
{
	for (int i = 0; i < l->count; i++) {
		char dir[PATH_MAX];
		int r = cg_dir(&l->hierarchies[i], path, dir, sizeof dir, err);
		if (r < 0)
			return r;
		if (path[strspn(path, "/")] && rmdir(dir) < 0 && errno != ENOENT)
			return errno == EBUSY ? 1 : rt_fail_errno(err, "remove cgroup %s", dir);
	}
	return 0;
}

int cgroups_remove(const struct cg_layout *l, const char *path, struct rt_error *err)
{
	long deadline = now_ms() + CGROUPS_REMOVE_MS;
	int result = 0;
	for (int i = 0; i < l->count; i++) {
		char dir[PATH_MAX];
		int r = cg_dir(&l->hierarchies[i], path, dir, sizeof dir, err);
		/* "/" would be the machine's own. */
		if (r == 0 && path[strspn(path, "/")])
			r = remove_dir(dir, deadline, err);
		if (r < 0 && result == 0)
			result = r;
	}
	return result;
}

/* The hierarchy to walk for processes: the one that can also stop forks. */
static const struct cg_hierarchy *walkable(const struct cg_layout *l)
{
	const struct cg_hierarchy *freezer = cg_of(l, CG_FREEZER);
	return freezer ? freezer : l->unified >= 0 ? &l->hierarchies[l->unified] : &l->hierarchies[0];
}

int cgroups_signal(const struct cg_layout *l, const char *path, int sig, struct rt_error *err)
{
	struct signal_walk w = { .sig = sig };
	char dir[PATH_MAX];
	int r = cg_dir(walkable(l), path, dir, sizeof dir, err);
	if (r < 0)
		return r;
	r = walk(AT_FDCWD, dir, 0, signal_one, &w);
	return r < 0 ? rt_fail(err, r, "signal the processes of cgroup %s", path) : 0;
}

int cgroups_processes(const struct cg_layout *l, const char *path, pid_t **pids, size_t *count, struct rt_error *err)
{
	struct process_list list = { 0 };
	char dir[PATH_MAX];
	int r = cg_dir(walkable(l), path, dir, sizeof dir, err);
	if (r == 0 && (r = walk(AT_FDCWD, dir, 0, list_one, &list)) < 0)
		rt_fail(err, r, "list the processes of cgroup %s", path);
	if (r < 0)
		free(list.pids);
	*pids = r < 0 ? NULL : list.pids;
	*count = r < 0 ? 0 : list.count;
	return r;
}

static int kill_rounds(const struct cg_hierarchy *h, const char *dir, struct rt_error *err)
{
	char state[PATH_MAX];
	bool freezer = !h->v2 && (h->controllers & CG_BIT(CG_FREEZER)) && snprintf(state, sizeof state, "%s/freezer.state", dir) < (int)sizeof state;
	for (int i = 0; i < KILL_ROUNDS; i++) {
		struct signal_walk w = { .sig = SIGKILL };
		/* Frozen processes cannot fork away; they die when thawed. */
		bool frozen = freezer && fs_write_at(AT_FDCWD, state, "FROZEN") == 0;
		int r = walk(AT_FDCWD, dir, 0, signal_one, &w);
		if (frozen && fs_write_at(AT_FDCWD, state, "THAWED") < 0)
			return rt_fail(err, EIO, "thaw cgroup %s", dir);
		if (r < 0)
			return rt_fail(err, r, "kill the processes of cgroup %s", dir);
		if (w.seen == 0)
			return 0;
		pause_ms(i < 10 ? 1 : 20);
	}
	return rt_fail(err, EBUSY, "processes of cgroup %s do not die", dir);
}

int cgroups_kill(const struct cg_layout *l, const char *path, struct rt_error *err)
{
	char dir[PATH_MAX], file[PATH_MAX];
	int r;
	if (l->unified >= 0) {
		r = cg_dir(&l->hierarchies[l->unified], path, dir, sizeof dir, err);
		if (r < 0)
			return r;
		if (snprintf(file, sizeof file, "%s/cgroup.kill", dir) < (int)sizeof file && fs_write_at(AT_FDCWD, file, "1") == 0)
			return 0;
	}
	const struct cg_hierarchy *h = walkable(l);
	if ((r = cg_dir(h, path, dir, sizeof dir, err)) < 0)
		return r;
	return access(dir, F_OK) < 0 ? 0 : kill_rounds(h, dir, err);
}
