#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/limits-plan.h"

static int memory(struct limit_plan *p, const struct resources *o, struct rt_error *err)
{
	if (o->memory_swappiness != LIMIT_UNSET)
		return rt_fail(err, ENOTSUP, "cannot set memory.swappiness: cgroup v2 has none");
	if (o->memory_oom_kill_disable > 0)
		return rt_fail(err, ENOTSUP, "cannot set memory.disableOOMKiller: cgroup v2 has no such switch");
	if (o->memory_kernel_tcp != LIMIT_UNSET)
		return rt_fail(err, ENOTSUP, "cannot set memory.kernelTCP: cgroup v2 counts it with the rest");
	if (o->memory_limit != LIMIT_UNSET)
		plan_max(p, "memory.max", o->memory_limit, "memory");
	/* v2 counts swap alone. */
	if (o->memory_swap != LIMIT_UNSET)
		plan_max(p, "memory.swap.max", o->memory_swap < 0 ? -1 : o->memory_swap - o->memory_limit, "swap");
	if (o->memory_reservation != LIMIT_UNSET)
		plan_max(p, "memory.low", o->memory_reservation, "memory reservation");
	return 0;
}

static int cpu(struct limit_plan *p, const struct resources *o, struct rt_error *err)
{
	if (o->cpu_rt_runtime != LIMIT_UNSET || o->cpu_rt_period != LIMIT_UNSET)
		return rt_fail(err, ENOTSUP, "cannot set cpu.realtimeRuntime or realtimePeriod: cgroup v2 has none");
	if (o->cpu_shares != LIMIT_UNSET) {
		/* 2..262144 onto 1..10000, as every runtime does. */
		int64_t shares = o->cpu_shares < 2 ? 2 : o->cpu_shares;
		plan_number(p, "cpu.weight", 1 + (shares - 2) * 9999 / 262142, "cpu shares");
	}
	int64_t period = o->cpu_period != LIMIT_UNSET ? o->cpu_period : 100000;
	if (o->cpu_quota > 0 && o->cpu_period == LIMIT_UNSET)
		/* The period that is in force stays. */
		plan_number(p, "cpu.max", o->cpu_quota, "cpu quota");
	else if (o->cpu_quota > 0)
		plan_format(p, "cpu.max", "cpu quota", "%" PRId64 " %" PRId64, o->cpu_quota, period);
	else if (o->cpu_quota != LIMIT_UNSET || o->cpu_period != LIMIT_UNSET)
		plan_format(p, "cpu.max", "cpu quota", "max %" PRId64, period);
	if (o->cpu_burst != LIMIT_UNSET)
		plan_number(p, "cpu.max.burst", o->cpu_burst, "cpu burst");
	if (o->cpu_idle != LIMIT_UNSET)
		plan_number(p, "cpu.idle", o->cpu_idle, "cpu idle");
	return 0;
}

/* 10..1000 onto 1..10000. */
static int64_t io_weight(int64_t weight)
{
	return 1 + (weight - 10) * 9999 / 990;
}

static int block(struct limit_plan *p, const struct resources *o, struct rt_error *err)
{
	static const char *const keys[THROTTLE_KINDS] = {
		[THROTTLE_READ_BPS] = "rbps", [THROTTLE_WRITE_BPS] = "wbps", [THROTTLE_READ_IOPS] = "riops", [THROTTLE_WRITE_IOPS] = "wiops",
	};
	/* BFQ's file takes the specification's own scale. */
	bool bfq = (o->block_weight != LIMIT_UNSET || o->block_weight_count) && plan_has(p, "io.bfq.weight");
	const char *file = bfq ? "io.bfq.weight" : "io.weight";
	char key[32], none[80];
	if (o->block_leaf_weight != LIMIT_UNSET)
		return rt_fail(err, ENOTSUP, "cannot set blockIO.leafWeight: cgroup v2 has none");
	if (o->block_weight != LIMIT_UNSET)
		plan_keyed(plan_number(p, file, bfq ? o->block_weight : io_weight(o->block_weight), "block weight"), "default", "default 100");
	for (size_t i = 0; i < o->block_weight_count; i++) {
		const struct block_weight *b = &o->block_weights[i];
		if (b->leaf_weight != LIMIT_UNSET)
			return rt_fail(err, ENOTSUP, "cannot set blockIO.weightDevice.leafWeight: cgroup v2 has none");
		snprintf(key, sizeof key, "%u:%u", b->major, b->minor);
		snprintf(none, sizeof none, "%s default", key);
		if (b->weight != LIMIT_UNSET)
			plan_keyed(plan_format(p, file, "block weight of a device", "%s %" PRId64, key, bfq ? b->weight : io_weight(b->weight)), key, none);
	}
	for (size_t i = 0; i < o->block_throttle_count; i++) {
		const struct block_throttle *t = &o->block_throttles[i];
		char rate[24] = "max";
		if (t->rate)
			snprintf(rate, sizeof rate, "%" PRIu64, t->rate);
		snprintf(key, sizeof key, "%u:%u", t->major, t->minor);
		snprintf(none, sizeof none, "%s rbps=max wbps=max riops=max wiops=max", key);
		plan_keyed(plan_format(p, "io.max", "block device throttling", "%s %s=%s", key, keys[t->kind], rate), key, none);
	}
	return 0;
}

static void huge_pages(struct limit_plan *p, const struct resources *o)
{
	for (size_t i = 0; i < o->huge_page_count; i++) {
		const struct huge_page_limit *h = &o->huge_pages[i];
		plan_name(plan_format(p, "hugetlb", "huge pages", "%" PRIu64, h->limit), h->page_size, "max");
		/* Else what is reserved and not yet touched would not count. */
		struct limit_write *w = plan_format(p, "hugetlb", "reserved huge pages", "%" PRIu64, h->limit);
		plan_name(w, h->page_size, "rsvd.max");
		w->optional = true;
	}
}

int limits_plan_v2(struct limit_plan *p, unsigned controllers, const struct resources *o, struct rt_error *err)
{
	int r;
	if ((controllers & CG_BIT(CG_MEMORY)) && (r = memory(p, o, err)) < 0)
		return r;
	if ((controllers & CG_BIT(CG_CPU)) && (r = cpu(p, o, err)) < 0)
		return r;
	if ((controllers & CG_BIT(CG_BLKIO)) && (r = block(p, o, err)) < 0)
		return r;
	if (controllers & CG_BIT(CG_HUGETLB))
		huge_pages(p, o);
	limits_plan_alike(p, controllers, o);
	/* Last, so that they have the last word. */
	json_each(n, o->unified)
		plan_text(p, n->key, n->string, n->key);
	return 0;
}
