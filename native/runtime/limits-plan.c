#include "runtime/limits-plan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/fs.h"
#include "common/scope.h"

#define FILE_MAX (64u << 10)

static struct limit_write *add(struct limit_plan *p, const char *file, const char *what)
{
	/* A plan that has no room any more goes on in a place of its own: callers need not look at each step. */
	static struct limit_write lost;
	if (p->count == p->size) {
		size_t size = p->size ? p->size * 2 : 8;
		struct limit_write *grown = p->failed ? NULL : realloc(p->at, size * sizeof *grown);
		if (!grown) {
			p->failed = true;
			return &lost;
		}
		p->at = grown;
		p->size = size;
	}
	struct limit_write *w = &p->at[p->count++];
	*w = (struct limit_write){ .file = file, .what = what };
	return w;
}

struct limit_write *plan_text(struct limit_plan *p, const char *file, const char *text, const char *what)
{
	struct limit_write *w = add(p, file, what);
	w->given = text;
	return w;
}

struct limit_write *plan_format(struct limit_plan *p, const char *file, const char *what, const char *fmt, ...)
{
	struct limit_write *w = add(p, file, what);
	va_list args;
	va_start(args, fmt);
	vsnprintf(w->made, sizeof w->made, fmt, args);
	va_end(args);
	return w;
}

struct limit_write *plan_number(struct limit_plan *p, const char *file, int64_t value, const char *what)
{
	return plan_format(p, file, what, "%" PRId64, value);
}

struct limit_write *plan_max(struct limit_plan *p, const char *file, int64_t value, const char *what)
{
	return value < 0 ? plan_text(p, file, "max", what) : plan_number(p, file, value, what);
}

void plan_keyed(struct limit_write *w, const char *key, const char *absent)
{
	w->shape = SHAPE_LINE;
	snprintf(w->key, sizeof w->key, "%s", key);
	snprintf(w->absent, sizeof w->absent, "%s", absent);
}

void plan_name(struct limit_write *w, const char *page_size, const char *rest)
{
	snprintf(w->name, sizeof w->name, "hugetlb.%s.%s", page_size, rest);
}

static const char *file_of(const struct limit_write *w)
{
	return w->name[0] ? w->name : w->file;
}

static bool path_of(const struct limit_plan *p, const char *file, char *out)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", p->dir, file);
	return n > 0 && n < PATH_MAX;
}

bool plan_has(const struct limit_plan *p, const char *file)
{
	char path[PATH_MAX];
	return path_of(p, file, path) && access(path, F_OK) == 0;
}

static int lacks(const struct limit_write *w, struct rt_error *err)
{
	return rt_fail(err, ENOTSUP, "cannot limit %s: this host's cgroup has no %s", w->what, file_of(w));
}

int plan_check(const struct limit_plan *p, struct rt_error *err)
{
	for (size_t i = 0; i < p->count; i++) {
		if (!p->at[i].optional && !plan_has(p, file_of(&p->at[i])))
			return lacks(&p->at[i], err);
	}
	return 0;
}

/* The part of what a file reads that takes a write back, NUL-terminated in place; NULL: none. */
static const char *old_value(const struct limit_write *w, char *text)
{
	size_t n = strlen(w->key);
	if (w->shape == SHAPE_NONE)
		return NULL;
	if (w->shape == SHAPE_WHOLE) {
		size_t len = strcspn(text, "\n");
		/* More lines than one are a table, and nobody writes those whole. */
		if (text[len] && text[len + 1])
			return NULL;
		text[len] = 0;
		/* An empty cpuset takes no empty write. */
		return len ? text : "\n";
	}
	for (char *line = text; *line;) {
		size_t len = strcspn(line, "\n");
		char *next = line + len + (line[len] == '\n');
		line[len] = 0;
		if (!strncmp(line, w->key, n) && line[n] == ' ')
			return w->shape == SHAPE_LINE ? line : line + n + 1;
		line = next;
	}
	return w->shape == SHAPE_LINE && w->absent[0] ? w->absent : NULL;
}

int plan_remember(struct limit_plan *p, struct rt_error *err)
{
	for (size_t i = 0; i < p->count; i++) {
		struct limit_write *w = &p->at[i];
		char path[PATH_MAX];
		cleanup_free char *text = NULL;
		struct rt_error ignored = { 0 };
		/* Some files can only be written. */
		if (!path_of(p, file_of(w), path) || fs_read_file(AT_FDCWD, path, FILE_MAX, &text, NULL, &ignored) < 0)
			continue;
		const char *old = old_value(w, text);
		if (old && !(w->old = strdup(old)))
			return rt_fail(err, ENOMEM, "limit %s", w->what);
	}
	return 0;
}

static int write_one(const struct limit_plan *p, struct limit_write *w)
{
	char path[PATH_MAX];
	int r = path_of(p, file_of(w), path) ? fs_write_at(AT_FDCWD, path, w->given ? w->given : w->made) : -ENAMETOOLONG;
	if (r == -ENOENT && w->optional)
		return 0;
	w->done = r == 0;
	return r;
}

static int refused(const struct limit_write *w, int r, struct rt_error *err)
{
	return r == -ENOENT ? lacks(w, err) : rt_fail(err, r, "limit %s (%s = %s)", w->what, file_of(w), w->given ? w->given : w->made);
}

int plan_run(struct limit_plan *p, struct rt_error *err)
{
	size_t later[16], count = 0;
	if (p->failed)
		return rt_fail(err, ENOMEM, "write limits");
	for (size_t i = 0; i < p->count; i++) {
		int r = write_one(p, &p->at[i]);
		if ((r == -EINVAL || r == -EBUSY) && i + 1 < p->count && count < sizeof later / sizeof *later)
			later[count++] = i;
		else if (r < 0)
			return refused(&p->at[i], r, err);
	}
	for (size_t i = 0; i < count; i++) {
		int r = write_one(p, &p->at[later[i]]);
		if (r < 0)
			return refused(&p->at[later[i]], r, err);
	}
	return 0;
}

void plan_undo(const struct limit_plan *p)
{
	char path[PATH_MAX];
	/* Twice, for the same reason as in plan_run. */
	for (int round = 0; round < 2; round++) {
		for (size_t i = p->count; i-- > 0;) {
			const struct limit_write *w = &p->at[i];
			if (w->done && w->old && path_of(p, file_of(w), path) && fs_write_at(AT_FDCWD, path, w->old) < 0)
				continue;
		}
	}
}

void plan_free(struct limit_plan *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->at[i].old);
	free(p->at);
	*p = (struct limit_plan){ 0 };
}

static void rdma(struct limit_plan *p, const struct resources *o)
{
	for (size_t i = 0; i < o->rdma_count; i++) {
		const struct rdma_limit *d = &o->rdma[i];
		char handles[32] = "", objects[32] = "", none[112];
		if (d->handles != LIMIT_UNSET)
			snprintf(handles, sizeof handles, " hca_handle=%" PRId64, d->handles);
		if (d->objects != LIMIT_UNSET)
			snprintf(objects, sizeof objects, " hca_object=%" PRId64, d->objects);
		snprintf(none, sizeof none, "%s hca_handle=max hca_object=max", d->device);
		plan_keyed(plan_format(p, "rdma.max", "RDMA resources", "%s%s%s", d->device, handles, objects), d->device, none);
	}
}

void limits_plan_alike(struct limit_plan *p, unsigned controllers, const struct resources *o)
{
	if ((controllers & CG_BIT(CG_PIDS)) && o->pids_limit != LIMIT_UNSET)
		plan_max(p, "pids.max", o->pids_limit, "pids");
	if ((controllers & CG_BIT(CG_CPUSET)) && o->cpuset_cpus)
		plan_text(p, "cpuset.cpus", o->cpuset_cpus, "cpus");
	if ((controllers & CG_BIT(CG_CPUSET)) && o->cpuset_mems)
		plan_text(p, "cpuset.mems", o->cpuset_mems, "memory nodes");
	if (controllers & CG_BIT(CG_RDMA))
		rdma(p, o);
}
