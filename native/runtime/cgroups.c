#include "runtime/cgroups.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"

static int join(char *out, const char *dir, const char *file)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, file);
	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int limit_write(const char *dir, const char *file, const char *value, const char *what, struct rt_error *err)
{
	char path[PATH_MAX];
	int r = join(path, dir, file);
	if (r == 0)
		r = fs_write_at(AT_FDCWD, path, value);
	if (r == -ENOENT)
		return rt_fail(err, ENOTSUP, "cannot limit %s: this host's cgroup has no %s", what, file);
	return r < 0 ? rt_fail(err, r, "limit %s (%s = %s)", what, file, value) : 0;
}

/* Every limit that is asked for needs a controller to keep it. */
static int check_controllers(const struct cg_layout *l, const struct config *c, struct rt_error *err)
{
	const struct resources *o = &c->resources;
	const struct { bool asked; enum cg_controller controller; } needs[] = {
		{ o->memory_limit != LIMIT_UNSET || o->memory_swap != LIMIT_UNSET || o->memory_reservation != LIMIT_UNSET ||
			  o->memory_swappiness != LIMIT_UNSET || o->memory_disable_oom_killer, CG_MEMORY },
		{ o->cpu_shares != LIMIT_UNSET || o->cpu_quota != LIMIT_UNSET || o->cpu_period != LIMIT_UNSET || o->cpu_burst != LIMIT_UNSET ||
			  o->cpu_idle != LIMIT_UNSET, CG_CPU },
		{ o->pids_limit != LIMIT_UNSET, CG_PIDS },
		{ o->cpuset_cpus || o->cpuset_mems, CG_CPUSET },
	};
	for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
		if (needs[i].asked && !cg_of(l, needs[i].controller))
			return rt_fail(err, ENOTSUP, "cannot limit %s: no cgroup hierarchy has the %s controller", cg_name(needs[i].controller),
				       cg_name(needs[i].controller));
	}
	if (o->unified && o->unified->count && l->unified < 0)
		return rt_fail(err, ENOTSUP, "resources.unified needs cgroup v2, which is not mounted");
	if (o->device_count && !cg_of(l, CG_DEVICES) && l->unified < 0)
		return rt_fail(err, ENOTSUP, "cannot restrict devices: no cgroup hierarchy can");
	return 0;
}

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = list; (p = strstr(p, word)); p += n) {
		if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\n' || p[n] == 0))
			return true;
	}
	return false;
}

/* Lets the children of `dir` have controllers. Those that cannot be enabled show up as missing limit files. */
static int enable_in(const char *dir, unsigned controllers)
{
	static const enum cg_controller wanted[] = { CG_MEMORY, CG_CPU, CG_PIDS, CG_CPUSET };
	char path[PATH_MAX];
	int r = join(path, dir, "cgroup.subtree_control");
	if (r < 0)
		return r;
	char have[512] = "";
	cleanup_fd int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || read(fd, have, sizeof have - 1) < 0)
		return -errno;
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		char word[32];
		if (!(controllers & CG_BIT(wanted[i])) || has_word(have, cg_name(wanted[i])))
			continue;
		int n = snprintf(word, sizeof word, "+%s", cg_name(wanted[i]));
		if (write(fd, word, (size_t)n) < 0 && errno != ENOENT && errno != EBUSY && errno != EINVAL && errno != EOPNOTSUPP)
			return -errno;
	}
	return 0;
}

/* mkdir -p below the mount, enabling controllers on the way down. `path` starts with '/'. */
static int make_v2(const struct cg_hierarchy *h, const char *path, struct rt_error *err)
{
	char dir[PATH_MAX];
	size_t len = strlen(h->mount);
	memcpy(dir, h->mount, len + 1);
	for (const char *p = path; *p;) {
		p += strspn(p, "/");
		size_t n = strcspn(p, "/");
		if (n == 0)
			break;
		int r = enable_in(dir, h->controllers);
		if (r < 0)
			return rt_fail(err, r, "enable cgroup controllers in %s", dir);
		if (len + n + 2 > sizeof dir)
			return rt_fail(err, ENAMETOOLONG, "cgroup %s", path);
		dir[len++] = '/';
		memcpy(dir + len, p, n);
		len += n;
		dir[len] = 0;
		p += n;
		if (mkdir(dir, 0755) < 0 && errno != EEXIST)
			return rt_fail_errno(err, "create cgroup %s", dir);
	}
	return 0;
}

/* 1 when the directory was made, 0 when an empty cgroup was there, -errno. */
static int make_dir(const struct cg_hierarchy *h, const char *path, const char *dir, struct rt_error *err)
{
	/* A missing parent is the rare case, except that v2 must look at each parent's controllers once. */
	if (mkdir(dir, 0755) == 0)
		return 1;
	if (errno == EEXIST) {
		char procs[PATH_MAX], byte;
		int r = join(procs, dir, "cgroup.procs");
		cleanup_fd int fd = r < 0 ? -1 : open(procs, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return rt_fail_errno(err, "open cgroup %s", dir);
		return read(fd, &byte, 1) > 0 ? rt_fail(err, EBUSY, "cgroup %s has processes already", dir) : 0;
	}
	if (errno != ENOENT)
		return rt_fail_errno(err, "create cgroup %s", dir);
	int r = h->v2 ? make_v2(h, path, err) : fs_mkdir_p(dir, 0755, err);
	return r < 0 ? r : 1;
}

/* Whether a v2 directory lacks a controller that its parents could give it. */
static bool lacks_controllers(const struct cg_hierarchy *h, const char *dir)
{
	char path[PATH_MAX];
	if (!(h->controllers & (CG_BIT(CG_MEMORY) | CG_BIT(CG_PIDS) | CG_BIT(CG_CPU))))
		return false;
	return ((h->controllers & CG_BIT(CG_MEMORY)) && (join(path, dir, "memory.max") < 0 || access(path, F_OK) < 0)) ||
	       ((h->controllers & CG_BIT(CG_PIDS)) && (join(path, dir, "pids.max") < 0 || access(path, F_OK) < 0)) ||
	       ((h->controllers & CG_BIT(CG_CPU)) && (join(path, dir, "cpu.max") < 0 || access(path, F_OK) < 0));
}

static int create_in(struct cgroups *g, const struct cg_hierarchy *h, const struct config *c, struct rt_error *err)
{
	char dir[PATH_MAX];
	int r = cg_dir(h, g->path, dir, sizeof dir, err);
	if (r < 0 || (r = make_dir(h, g->path, dir, err)) < 0)
		return r;
	if (!h->v2)
		return limits_apply_v1(c, h->controllers, dir, err);
	if (lacks_controllers(h, dir) && (r = make_v2(h, g->path, err)) < 0)
		return r;
	g->v2_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (g->v2_fd < 0)
		return rt_fail_errno(err, "open cgroup %s", dir);
	if ((r = limits_apply_v2(c, h->controllers, dir, err)) < 0)
		return r;
	if (c->resources.device_count && !cg_of(&g->layout, CG_DEVICES))
		return devices_attach_bpf(c, g->v2_fd, err);
	return 0;
}

int cgroups_create(struct cgroups *g, const struct config *c, struct rt_error *err)
{
	g->v2_fd = -1;
	int r = cg_detect(&g->layout, err);
	if (r < 0 || (r = check_controllers(&g->layout, c, err)) < 0)
		return r;
	for (int i = 0; r == 0 && i < g->layout.count; i++)
		r = create_in(g, &g->layout.hierarchies[i], c, err);
	/* A busy cgroup belongs to somebody else. */
	if (r < 0 && r != -EBUSY) {
		struct rt_error ignored = { 0 };
		if (cgroups_remove(&g->layout, g->path, &ignored) < 0)
			rt_prefix(err, "(its cgroup stays)");
	}
	return r;
}

/* A v1 cpuset is born without CPUs unless its parent hands them down: hand them down from the root, now and for later children. */
static int fill_cpusets(const struct cg_hierarchy *h, const char *path, struct rt_error *err)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	char values[2][4096] = { "", "" }, dir[PATH_MAX], file[PATH_MAX];
	size_t len = strlen(h->mount);
	memcpy(dir, h->mount, len + 1);
	for (const char *p = path;; p += strcspn(p, "/")) {
		for (int i = 0; i < 2; i++) {
			char have[4096] = "";
			if (join(file, dir, files[i]) < 0)
				return rt_fail(err, ENAMETOOLONG, "cgroup %s", path);
			cleanup_fd int fd = open(file, O_RDWR | O_CLOEXEC);
			if (fd < 0 || read(fd, have, sizeof have - 1) < 0)
				return rt_fail_errno(err, "read %s", file);
			if (have[0] && have[0] != '\n')
				strcpy(values[i], have);
			else if (write(fd, values[i], strlen(values[i])) < 0)
				return rt_fail_errno(err, "write %s", file);
		}
		p += strspn(p, "/");
		size_t n = strcspn(p, "/");
		if (n == 0)
			return 0;
		if (len > strlen(h->mount) && join(file, dir, "cgroup.clone_children") == 0 && fs_write_at(AT_FDCWD, file, "1") < 0)
			return rt_fail(err, EIO, "set %s", file);
		if (len + n + 2 > sizeof dir)
			return rt_fail(err, ENAMETOOLONG, "cgroup %s", path);
		dir[len++] = '/';
		memcpy(dir + len, p, n);
		len += n;
		dir[len] = 0;
	}
}

int cgroups_attach(const struct cgroups *g, pid_t pid, bool in_v2, struct rt_error *err)
{
	char text[16];
	snprintf(text, sizeof text, "%d", pid);
	for (int i = 0; i < g->layout.count; i++) {
		const struct cg_hierarchy *h = &g->layout.hierarchies[i];
		char dir[PATH_MAX], procs[PATH_MAX];
		if (h->v2 && in_v2)
			continue;
		int r = cg_dir(h, g->path, dir, sizeof dir, err);
		if (r < 0 || join(procs, dir, "cgroup.procs") < 0)
			return rt_fail(err, ENAMETOOLONG, "cgroup %s", g->path);
		r = fs_write_at(AT_FDCWD, procs, text);
		if (r == -ENOSPC && !h->v2 && (h->controllers & CG_BIT(CG_CPUSET))) {
			if ((r = fill_cpusets(h, g->path, err)) < 0)
				return r;
			r = fs_write_at(AT_FDCWD, procs, text);
		}
		if (r < 0)
			return rt_fail(err, r, "put the container into cgroup %s", dir);
	}
	return 0;
}
