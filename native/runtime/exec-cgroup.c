#include "runtime/exec-cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/fs.h"
#include "common/scope.h"

/* Whether the comma-separated names before the colon ask for this hierarchy. */
static bool names_hierarchy(const char *names, size_t len, const struct cg_hierarchy *h)
{
	for (size_t i = 0; i < len;) {
		size_t n = 0;
		while (i + n < len && names[i + n] != ',')
			n++;
		for (int c = 0; c < CG_CONTROLLERS; c++) {
			if ((h->controllers & CG_BIT(c)) && strlen(cg_name(c)) == n && !memcmp(cg_name(c), names + i, n))
				return true;
		}
		i += n + 1;
	}
	return false;
}

static int join_sub(struct exec_cgroup *g, int i, const char *path, const char *sub, struct rt_error *err)
{
	char whole[PATH_MAX], dir[PATH_MAX];
	if (snprintf(whole, sizeof whole, "%s/%s", path, sub) >= (int)sizeof whole)
		return rt_fail(err, ENAMETOOLONG, "--cgroup %s", sub);
	int r = cg_dir(&g->layout.hierarchies[i], whole, dir, sizeof dir, err);
	if (r < 0) {
		rt_prefix(err, "--cgroup %s", sub);
		return r;
	}
	if (access(dir, F_OK) < 0)
		return rt_fail_errno(err, "--cgroup %s: cgroup %s", sub, dir);
	free(g->path[i]);
	g->path[i] = strdup(dir);
	return g->path[i] ? 0 : rt_fail(err, ENOMEM, "--cgroup");
}

static int apply_sub(struct exec_cgroup *g, const char *path, const char *text, struct rt_error *err)
{
	const char *colon = strchr(text, ':');
	int matches = 0;
	for (int i = 0; i < g->layout.count; i++) {
		const struct cg_hierarchy *h = &g->layout.hierarchies[i];
		if (!g->path[i] || (colon && (h->v2 || !names_hierarchy(text, (size_t)(colon - text), h))))
			continue;
		int r = join_sub(g, i, path, colon ? colon + 1 : text, err);
		if (r < 0)
			return r;
		matches++;
	}
	return matches ? 0 : rt_fail(err, EINVAL, "--cgroup %s: no such v1 controller holds the container", text);
}

int exec_cgroup_find(struct exec_cgroup *g, const char *path, const struct text_list *subs, struct rt_error *err)
{
	g->v2_fd = -1;
	if (!path)
		return subs->count ? rt_fail(err, EINVAL, "--cgroup: the container is in no cgroup of its own") : 0;
	int r = cg_detect(&g->layout, err), found = 0;
	for (int i = 0; r == 0 && i < g->layout.count; i++) {
		char dir[PATH_MAX];
		/* A hierarchy in which the container got no cgroup limits it nowhere, and leaves its processes where their makers are. */
		if ((r = cg_dir(&g->layout.hierarchies[i], path, dir, sizeof dir, err)) < 0 || access(dir, F_OK) < 0)
			continue;
		g->path[i] = strdup(dir);
		if (!g->path[i])
			r = rt_fail(err, ENOMEM, "cgroup %s", path);
		found++;
	}
	if (r == 0 && !found)
		r = rt_fail(err, ENOENT, "cgroup %s", path);
	for (size_t i = 0; r == 0 && i < subs->count; i++)
		r = apply_sub(g, path, subs->at[i], err);
	g->exact = subs->count > 0;
	int u = g->layout.unified;
	if (r == 0 && u >= 0 && g->path[u])
		g->v2_fd = open(g->path[u], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r;
}

void exec_cgroup_release(struct exec_cgroup *g)
{
	for (int i = 0; i < CG_MAX_HIERARCHIES; i++)
		free(g->path[i]);
	scope_close(&g->v2_fd);
}

/* The v2 cgroup of a process, which must be below `path`: a process that somebody moved elsewhere is not followed. */
static int v2_dir_of(const struct cg_hierarchy *h, const char *path, pid_t pid, char *out, struct rt_error *err)
{
	char file[32];
	cleanup_free char *text = NULL;
	snprintf(file, sizeof file, "/proc/%d/cgroup", pid);
	int r = fs_read_file(AT_FDCWD, file, 65536, &text, NULL, err);
	if (r < 0)
		return r;
	const char *at = !strncmp(text, "0::", 3) ? text + 3 : strstr(text, "\n0::");
	at += at && *at == '\n' ? 4 : 0;
	size_t n = strlen(path), len = at ? strcspn(at, "\n") : 0;
	if (!at || strncmp(at, path, n) || at[n] != '/')
		return rt_fail(err, EBUSY, "cgroup %s takes no processes", path);
	if (snprintf(out, PATH_MAX, "%s%.*s", h->mount, (int)len, at) >= PATH_MAX)
		return rt_fail(err, ENAMETOOLONG, "cgroup %s", path);
	return 0;
}

static int write_pid(const char *dir, pid_t pid)
{
	char file[PATH_MAX], text[16];
	snprintf(text, sizeof text, "%d", pid);
	return snprintf(file, sizeof file, "%s/cgroup.procs", dir) >= (int)sizeof file ? -ENAMETOOLONG : fs_write_at(AT_FDCWD, file, text);
}

int exec_cgroup_enter(const struct exec_cgroup *g, const char *path, pid_t pid, bool in_v2, pid_t init, struct rt_error *err)
{
	for (int i = 0; i < g->layout.count; i++) {
		const struct cg_hierarchy *h = &g->layout.hierarchies[i];
		char dir[PATH_MAX];
		if (!g->path[i] || (h->v2 && in_v2))
			continue;
		int r = write_pid(g->path[i], pid);
		if (r == -EBUSY && h->v2 && !g->exact) {
			if ((r = v2_dir_of(h, path, init, dir, err)) < 0)
				return r;
			r = write_pid(dir, pid);
		}
		if (r < 0)
			return rt_fail(err, r, "join cgroup %s", g->path[i]);
	}
	return 0;
}
