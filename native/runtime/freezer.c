#include "runtime/freezer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"

/* Opens the cgroup's directory in the hierarchy that can freeze it; -ENOENT when there is none. */
static int open_cgroup(const struct cg_layout *l, const char *path, bool *v2, struct rt_error *err)
{
	const struct cg_hierarchy *candidates[] = { cg_of(l, CG_FREEZER), l->unified >= 0 ? &l->hierarchies[l->unified] : NULL };
	for (size_t i = 0; i < 2; i++) {
		char dir[PATH_MAX];
		if (!candidates[i])
			continue;
		int r = cg_dir(candidates[i], path, dir, sizeof dir, err);
		if (r < 0)
			return r;
		int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		*v2 = candidates[i]->v2;
		if (fd >= 0 || errno != ENOENT)
			return fd < 0 ? -errno : fd;
	}
	return -ENOENT;
}

/* 1 when it is as wanted, 0 when not yet. */
static int is_done(int dir, bool v2, bool frozen, struct rt_error *err)
{
	cleanup_free char *text = NULL;
	int r = fs_read_file(dir, v2 ? "cgroup.events" : "freezer.state", 4096, &text, NULL, err);
	if (r < 0)
		return r;
	return v2 ? cg_keyed(text, "frozen") == frozen : !strncmp(text, frozen ? "FROZEN" : "THAWED", 6);
}

bool freezer_is_frozen(const struct cg_layout *l, const char *path)
{
	struct rt_error ignored = { 0 };
	cleanup_free char *text = NULL;
	bool v2;
	cleanup_fd int dir = open_cgroup(l, path, &v2, &ignored);
	if (dir < 0 || fs_read_file(dir, v2 ? "cgroup.freeze" : "freezer.state", 64, &text, NULL, &ignored) < 0)
		return false;
	return v2 ? text[0] == '1' : !strncmp(text, "FR", 2);
}

static int write_state(int dir, bool v2, bool frozen)
{
	return v2 ? fs_write_at(dir, "cgroup.freeze", frozen ? "1" : "0") : fs_write_at(dir, "freezer.state", frozen ? "FROZEN" : "THAWED");
}

static long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int freezer_set(const struct cg_layout *l, const char *path, bool frozen, struct rt_error *err)
{
	const char *what = frozen ? "freeze" : "thaw";
	bool v2;
	cleanup_fd int dir = open_cgroup(l, path, &v2, err);
	if (dir < 0)
		return rt_fail(err, dir == -ENOENT ? ENOTSUP : dir, "%s cgroup %s", what, path);
	/* On v2 the events file tells when it has happened; v1 must be asked, and asked again to freeze: forks in flight escape its first go. */
	cleanup_fd int events = v2 ? openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC) : -1;
	long deadline = now_ms() + FREEZER_WAIT_MS;
	for (int wait = 1; now_ms() < deadline; wait = wait < 50 ? wait * 2 : 50) {
		int r = write_state(dir, v2, frozen);
		if (r < 0)
			return rt_fail(err, r, "%s cgroup %s", what, path);
		if ((r = is_done(dir, v2, frozen, err)) != 0)
			return r < 0 ? r : 0;
		struct pollfd p = { .fd = events, .events = POLLPRI };
		poll(&p, 1, wait);
	}
	if (frozen && write_state(dir, v2, false) < 0)
		return rt_fail(err, ETIMEDOUT, "freeze cgroup %s, which stays half frozen", path);
	return rt_fail(err, ETIMEDOUT, "%s cgroup %s", what, path);
}
