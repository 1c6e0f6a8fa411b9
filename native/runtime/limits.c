#include "runtime/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/limits-plan.h"

struct need {
	bool asked;
	enum cg_controller controller;
};

/* Which controllers the limits ask for. */
#define NEEDS 9
static void needs_of(const struct resources *o, struct need out[NEEDS])
{
	const struct need needs[NEEDS] = {
		{ o->memory_limit != LIMIT_UNSET || o->memory_swap != LIMIT_UNSET || o->memory_reservation != LIMIT_UNSET ||
			  o->memory_swappiness != LIMIT_UNSET || o->memory_kernel_tcp != LIMIT_UNSET || o->memory_oom_kill_disable > 0, CG_MEMORY },
		{ o->cpu_shares != LIMIT_UNSET || o->cpu_quota != LIMIT_UNSET || o->cpu_period != LIMIT_UNSET || o->cpu_burst != LIMIT_UNSET ||
			  o->cpu_idle != LIMIT_UNSET || o->cpu_rt_runtime != LIMIT_UNSET || o->cpu_rt_period != LIMIT_UNSET, CG_CPU },
		{ o->pids_limit != LIMIT_UNSET, CG_PIDS },
		{ o->cpuset_cpus || o->cpuset_mems, CG_CPUSET },
		{ o->block_weight != LIMIT_UNSET || o->block_leaf_weight != LIMIT_UNSET || o->block_weight_count || o->block_throttle_count, CG_BLKIO },
		{ o->huge_page_count, CG_HUGETLB },
		{ o->network_class != LIMIT_UNSET, CG_NET_CLS },
		{ o->network_priority_count, CG_NET_PRIO },
		{ o->rdma_count, CG_RDMA },
	};
	memcpy(out, needs, sizeof needs);
}

unsigned limits_controllers(const struct resources *o)
{
	struct need needs[NEEDS];
	unsigned set = 0;
	needs_of(o, needs);
	for (int i = 0; i < NEEDS; i++)
		set |= needs[i].asked ? CG_BIT(needs[i].controller) : 0;
	return set;
}

int limits_check(const struct cg_layout *l, const struct resources *o, struct rt_error *err)
{
	struct need needs[NEEDS];
	needs_of(o, needs);
	for (int i = 0; i < NEEDS; i++) {
		const char *name = cg_name(needs[i].controller);
		if (needs[i].asked && !cg_of(l, needs[i].controller))
			return rt_fail(err, ENOTSUP, "cannot limit %s: no cgroup hierarchy has the %s controller", name, name);
	}
	if (o->unified && o->unified->count && l->unified < 0)
		return rt_fail(err, ENOTSUP, "invalid configuration: resources.unified needs cgroup v2, which is not mounted");
	if (o->device_count && !cg_of(l, CG_DEVICES) && l->unified < 0)
		return rt_fail(err, ENOTSUP, "cannot restrict devices: no cgroup hierarchy can");
	return 0;
}

static int make_plan(struct limit_plan *p, const struct cg_hierarchy *h, const char *dir, const struct resources *o, struct rt_error *err)
{
	*p = (struct limit_plan){ .dir = dir };
	return h->v2 ? limits_plan_v2(p, h->controllers, o, err) : limits_plan_v1(p, h->controllers, o, err);
}

static bool bpf_bars_devices(const struct cg_layout *l, const struct cg_hierarchy *h, const struct resources *o)
{
	return o->device_count && h->v2 && !cg_of(l, CG_DEVICES);
}

static int restrict_devices(const char *dir, const struct resources *o, struct rt_error *err)
{
	cleanup_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? rt_fail_errno(err, "open cgroup %s", dir) : devices_attach_bpf(o, fd, err);
}

int limits_apply(const struct cg_layout *l, const struct cg_hierarchy *h, const char *dir, const struct resources *o, struct rt_error *err)
{
	cleanup_plan struct limit_plan p = { 0 };
	int r = make_plan(&p, h, dir, o, err);
	if (r == 0 && p.count)
		r = plan_run(&p, err);
	return r == 0 && bpf_bars_devices(l, h, o) ? restrict_devices(dir, o, err) : r;
}

static int read_value(const char *dir, const char *file, char *out, size_t size, struct rt_error *err)
{
	char path[PATH_MAX];
	cleanup_free char *text = NULL;
	if (snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path)
		return rt_fail(err, ENAMETOOLONG, "cgroup %s", dir);
	int r = fs_read_file(AT_FDCWD, path, 4096, &text, NULL, err);
	if (r == 0)
		snprintf(out, size, "%.*s", (int)strcspn(text, "\n"), text);
	return r;
}

static int64_t parse_limit(const char *text)
{
	/* v1 writes "no limit" as the largest page multiple. */
	uint64_t v = !strcmp(text, "max") ? UINT64_MAX : strtoull(text, NULL, 10);
	return v >= (uint64_t)INT64_MAX / 4096 * 4096 ? -1 : (int64_t)v;
}

/* What a change leaves out and yet depends on, taken from what is in force. */
static int complete_memory(const struct cg_hierarchy *h, const char *dir, struct resources *o, struct rt_error *err)
{
	char text[64];
	int r;
	if (o->memory_swap > 0 && o->memory_limit == LIMIT_UNSET && h->v2) {
		if ((r = read_value(dir, "memory.max", text, sizeof text, err)) < 0)
			return r;
		o->memory_limit = parse_limit(text);
		if (o->memory_limit < 0 || o->memory_limit > o->memory_swap)
			return rt_fail(err, EINVAL, "memory.swap counts memory and swap together, so it is at least memory.limit, which is %s", text);
	}
	/* Without a limit on memory the one on both would be in its way. */
	if (!h->v2 && o->memory_limit == -1 && o->memory_swap == LIMIT_UNSET &&
	    read_value(dir, "memory.memsw.limit_in_bytes", text, sizeof text, &(struct rt_error){ 0 }) == 0)
		o->memory_swap = -1;
	if (!o->memory_check_before_update || o->memory_limit <= 0)
		return 0;
	if ((r = read_value(dir, h->v2 ? "memory.current" : "memory.usage_in_bytes", text, sizeof text, err)) < 0)
		return r;
	if (parse_limit(text) > o->memory_limit)
		return rt_fail(err, EBUSY, "memory.limit %lld is below the %s bytes in use, and checkBeforeUpdate is set", (long long)o->memory_limit, text);
	return 0;
}

static int complete_cpu(const char *dir, struct resources *o, struct rt_error *err)
{
	char text[64];
	/* v2 has both in one file, the quota first. */
	if (o->cpu_period == LIMIT_UNSET || o->cpu_quota != LIMIT_UNSET)
		return 0;
	int r = read_value(dir, "cpu.max", text, sizeof text, err);
	if (r == 0)
		o->cpu_quota = text[0] == 'm' ? -1 : strtoll(text, NULL, 10);
	return r;
}

static int complete(const struct cg_hierarchy *h, const char *dir, struct resources *o, struct rt_error *err)
{
	int r = h->controllers & CG_BIT(CG_MEMORY) ? complete_memory(h, dir, o, err) : 0;
	return r == 0 && h->v2 && (h->controllers & CG_BIT(CG_CPU)) ? complete_cpu(dir, o, err) : r;
}

/* The plans of a change, one for each hierarchy. */
struct change {
	struct limit_plan plans[CG_MAX_HIERARCHIES];
	char dirs[CG_MAX_HIERARCHIES][PATH_MAX];
	struct resources completed[CG_MAX_HIERARCHIES];
};

/* A list that does not begin by denying everything begins with everything allowed. */
static void reopen_devices(struct limit_plan *p)
{
	for (size_t i = 0; i < p->count; i++) {
		if (strncmp(p->at[i].file, "devices.", 8))
			continue;
		if (p->at[i].given && !strcmp(p->at[i].file, "devices.deny"))
			return;
		struct limit_write *w = plan_text(p, "devices.allow", "a", "devices");
		if (p->failed)
			return;
		struct limit_write first = *w;
		first.shape = SHAPE_NONE;
		memmove(&p->at[i + 1], &p->at[i], (p->count - 1 - i) * sizeof first);
		p->at[i] = first;
		return;
	}
}

static int prepare(struct change *c, const struct cg_layout *l, const char *path, const struct resources *o, struct rt_error *err)
{
	unsigned asked = limits_controllers(o) | (o->device_count ? CG_BIT(CG_DEVICES) : 0);
	for (int i = 0; i < l->count; i++) {
		const struct cg_hierarchy *h = &l->hierarchies[i];
		if (!(h->controllers & asked) && !(h->v2 && ((o->unified && o->unified->count) || bpf_bars_devices(l, h, o))))
			continue;
		int r = cg_dir(h, path, c->dirs[i], sizeof c->dirs[i], err);
		c->completed[i] = *o;
		if (r < 0 || (r = complete(h, c->dirs[i], &c->completed[i], err)) < 0 || (r = make_plan(&c->plans[i], h, c->dirs[i], &c->completed[i], err)) < 0)
			return r;
		reopen_devices(&c->plans[i]);
		if ((r = plan_check(&c->plans[i], err)) < 0 || (r = plan_remember(&c->plans[i], err)) < 0)
			return r;
	}
	return 0;
}

static int carry_out(struct change *c, const struct cg_layout *l, const char *path, const struct resources *o, struct rt_error *err)
{
	int r = 0;
	for (int i = 0; r == 0 && i < l->count; i++)
		r = plan_run(&c->plans[i], err);
	for (int i = 0; r == 0 && i < l->count; i++) {
		char dir[PATH_MAX];
		if (bpf_bars_devices(l, &l->hierarchies[i], o) && (r = cg_dir(&l->hierarchies[i], path, dir, sizeof dir, err)) == 0)
			r = restrict_devices(dir, o, err);
	}
	return r;
}

int limits_update(const struct cg_layout *l, const char *path, const struct resources *o, struct rt_error *err)
{
	int r = limits_check(l, o, err);
	if (r < 0)
		return r;
	cleanup_free struct change *c = calloc(1, sizeof *c);
	if (!c)
		return rt_fail(err, ENOMEM, "update limits");
	if ((r = prepare(c, l, path, o, err)) == 0 && (r = carry_out(c, l, path, o, err)) < 0) {
		for (int i = 0; i < l->count; i++)
			plan_undo(&c->plans[i]);
	}
	for (int i = 0; i < l->count; i++)
		plan_free(&c->plans[i]);
	return r;
}
