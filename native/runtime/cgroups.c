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
#include "runtime/limits.h"
#include "runtime/rootless.h"

static int join(char *out, const char *dir, const char *file)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, file);
	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
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
	char path[PATH_MAX];
	int r = join(path, dir, "cgroup.subtree_control");
	if (r < 0)
		return r;
	char have[512] = "";
	cleanup_fd int fd = openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC);
	/* Above what is delegated to an ordinary user. */
	if (fd < 0 && (errno == EACCES || errno == EROFS))
		return 0;
	if (fd < 0 || read(fd, have, sizeof have - 1) < 0)
		return -errno;
	for (int c = 0; c < CG_CONTROLLERS; c++) {
		char word[32];
		const char *name = c == CG_BLKIO ? "io" : cg_name(c);
		if (!(controllers & CG_BIT(c)) || has_word(have, name))
			continue;
		int n = snprintf(word, sizeof word, "+%s", name);
		if (write(fd, word, (size_t)n) < 0 && errno != ENOENT && errno != EBUSY && errno != EINVAL && errno != EOPNOTSUPP)
			return -errno;
	}
	return 0;
}

/* mkdir -p below the mount, enabling controllers on the way down. `path` starts with '/'. */
static int make_v2(const struct cg_hierarchy *h, const char *path, unsigned controllers, struct rt_error *err)
{
	char dir[PATH_MAX];
	size_t len = strlen(h->mount);
	memcpy(dir, h->mount, len + 1);
	for (const char *p = path; *p;) {
		p += strspn(p, "/");
		size_t n = strcspn(p, "/");
		if (n == 0)
			break;
		int r = enable_in(dir, controllers);
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

/* A cgroup that was there already is taken over only when nothing is in it, and what is put into it can run. */
static int check_found(const struct cg_hierarchy *h, const char *dir, struct rt_error *err)
{
	char procs[PATH_MAX], state[16] = "";
	int r = join(procs, dir, "cgroup.procs");
	cleanup_fd int fd = r < 0 ? -1 : openat(AT_FDCWD, procs, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return rt_fail_errno(err, "open cgroup %s", dir);
	if (read(fd, state, 1) > 0)
		return rt_fail(err, EBUSY, "the container's cgroup is not empty: %s has processes already", dir);
	if (!h->v2 && !(h->controllers & CG_BIT(CG_FREEZER)))
		return 0;
	cleanup_fd int at = openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int freezer = at < 0 ? -1 : openat(at, h->v2 ? "cgroup.freeze" : "freezer.state", O_RDONLY | O_CLOEXEC);
	/* A v2 cgroup at the root has no such file, nor has any before Linux 5.2. */
	if (freezer < 0 || read(freezer, state, sizeof state - 1) < 0)
		return 0;
	bool frozen = h->v2 ? state[0] == '1' : !strncmp(state, "FR", 2);
	return frozen ? rt_fail(err, EBUSY, "the container's cgroup unexpectedly frozen: %s", dir) : 0;
}

/* 1 when the directory was made, 0 when an empty cgroup was there, -errno. */
static int make_dir(const struct cg_hierarchy *h, const char *path, const char *dir, unsigned wanted, struct rt_error *err)
{
	/* A missing parent is the rare case, except that v2 must look at each parent's controllers once. */
	if (mkdir(dir, 0755) == 0)
		return 1;
	if (errno == EEXIST)
		return check_found(h, dir, err);
	if (errno != ENOENT)
		return rt_fail_errno(err, "create cgroup %s", dir);
	int r = h->v2 ? make_v2(h, path, wanted, err) : fs_mkdir_p(dir, 0755, err);
	return r < 0 ? r : 1;
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
			cleanup_fd int fd = openat(AT_FDCWD, file, O_RDWR | O_CLOEXEC);
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

/* A cpuset can only be a part of its parent's, which may be empty as yet. */
static int apply_v1(const struct cg_layout *l, const struct cg_hierarchy *h, const char *path, const char *dir, const struct resources *o, struct rt_error *err)
{
	if ((h->controllers & CG_BIT(CG_CPUSET)) && (o->cpuset_cpus || o->cpuset_mems)) {
		int r = fill_cpusets(h, path, err);
		if (r < 0)
			return r;
	}
	return limits_apply(l, h, dir, o, err);
}

/* The controllers that a container's v2 cgroup should have: those whose use is reported or limited everywhere, and what this one asks for. */
static unsigned wanted_in(const struct cg_hierarchy *h, const struct resources *o)
{
	return h->controllers & (CG_BIT(CG_MEMORY) | CG_BIT(CG_CPU) | CG_BIT(CG_PIDS) | CG_BIT(CG_CPUSET) | CG_BIT(CG_BLKIO) | limits_controllers(o));
}

/* Whether a v2 directory lacks a controller that its parents could give it. */
static bool lacks_controllers(const char *dir, unsigned wanted)
{
	char path[PATH_MAX], have[512] = "";
	if (!wanted || join(path, dir, "cgroup.controllers") < 0)
		return false;
	cleanup_fd int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	return fd < 0 || read(fd, have, sizeof have - 1) < 0 || (wanted & ~cg_parse_controllers(have));
}

/* Sets *made when the directory was not there before. */
static int create_in(struct cgroups *g, const struct cg_hierarchy *h, const struct config *c, bool *made, struct rt_error *err)
{
	char dir[PATH_MAX];
	unsigned wanted = h->v2 ? wanted_in(h, &c->resources) : 0;
	int r = cg_dir(h, g->path, dir, sizeof dir, err);
	if (r < 0 || (r = make_dir(h, g->path, dir, wanted, err)) < 0)
		return r;
	*made = r > 0;
	if (!h->v2)
		return apply_v1(&g->layout, h, g->path, dir, &c->resources, err);
	if (lacks_controllers(dir, wanted) && (r = make_v2(h, g->path, wanted, err)) < 0)
		return r;
	g->v2_fd = openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (g->v2_fd < 0)
		return rt_fail_errno(err, "open cgroup %s", dir);
	r = limits_apply(&g->layout, h, dir, &c->resources, err);
	return r < 0 ? r : cgroups_delegate(c, g->v2_fd, err);
}

/* A busy cgroup belongs to somebody else, but for what was made beside it. */
static void remove_made(const struct cgroups *g, const bool made[CG_MAX_HIERARCHIES])
{
	struct rt_error ignored = { 0 };
	char dir[PATH_MAX];
	for (int i = 0; i < g->layout.count; i++) {
		if (made[i] && cg_dir(&g->layout.hierarchies[i], g->path, dir, sizeof dir, &ignored) == 0)
			rmdir(dir);
	}
}

int cgroups_create(struct cgroups *g, const struct config *c, struct rt_error *err)
{
	g->v2_fd = -1;
	int r = cg_detect(&g->layout, err);
	if (r < 0)
		return r;
	/* Only v2 can be delegated to an ordinary user. */
	if (!*g->path || rootless_is())
		cg_keep_v2(&g->layout, *g->path);
	if ((r = limits_check(&g->layout, &c->resources, err)) < 0) {
		if (!*g->path)
			rt_prefix(err, "no cgroup is delegated to this user");
		return r;
	}
	bool made[CG_MAX_HIERARCHIES] = { false };
	for (int i = 0; r == 0 && i < g->layout.count; i++)
		r = create_in(g, &g->layout.hierarchies[i], c, &made[i], err);
	if (r == -EBUSY)
		remove_made(g, made);
	else if (r < 0 && cgroups_remove(&g->layout, g->path, &(struct rt_error){ 0 }) < 0)
		rt_prefix(err, "(its cgroup stays)");
	return r;
}

/* Writes a pid, 0 for the writer, into one of the cgroup's files that move processes. */
static int put(const struct cg_hierarchy *h, const char *path, const char *dir, const char *file, const char *pid)
{
	char full[PATH_MAX];
	int r = join(full, dir, file);
	if (r == 0)
		r = fs_write_at(AT_FDCWD, full, pid);
	/* A cpuset that has no CPUs of its own as yet. */
	if (r == -ENOSPC && !h->v2 && (h->controllers & CG_BIT(CG_CPUSET))) {
		struct rt_error ignored = { 0 };
		if ((r = fill_cpusets(h, path, &ignored)) == 0)
			r = fs_write_at(AT_FDCWD, full, pid);
	}
	return r;
}

int cgroups_attach(const struct cgroups *g, pid_t pid, struct rt_error *err)
{
	char text[16];
	snprintf(text, sizeof text, "%d", pid);
	for (int i = 0; i < g->layout.count; i++) {
		const struct cg_hierarchy *h = &g->layout.hierarchies[i];
		char dir[PATH_MAX];
		int r = cg_dir(h, g->path, dir, sizeof dir, err);
		if (r == 0)
			r = put(h, g->path, dir, "cgroup.procs", text);
		if (r < 0)
			return rt_fail(err, r, "put the container into cgroup %s", dir);
	}
	return 0;
}

int cgroups_enter(const struct cgroups *g, bool in_v2, struct rt_error *err)
{
	for (int i = 0; i < g->layout.count; i++) {
		const struct cg_hierarchy *h = &g->layout.hierarchies[i];
		char dir[PATH_MAX];
		if (h->v2 && in_v2)
			continue;
		int r = cg_dir(h, g->path, dir, sizeof dir, err);
		if (r == 0)
			r = put(h, g->path, dir, h->v2 ? "cgroup.procs" : "tasks", "0");
		if (r < 0)
			return rt_fail(err, r, "enter cgroup %s", dir);
	}
	return 0;
}
