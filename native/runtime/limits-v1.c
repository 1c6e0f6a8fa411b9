#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "runtime/limits-plan.h"
#include "runtime/limits.h"

static void number(struct limit_plan *p, const char *file, int64_t v, const char *what)
{
	if (v != LIMIT_UNSET)
		plan_number(p, file, v, what);
}

static void memory(struct limit_plan *p, const struct resources *o)
{
	number(p, "memory.limit_in_bytes", o->memory_limit, "memory");
	number(p, "memory.memsw.limit_in_bytes", o->memory_swap, "swap");
	number(p, "memory.soft_limit_in_bytes", o->memory_reservation, "memory reservation");
	number(p, "memory.kmem.tcp.limit_in_bytes", o->memory_kernel_tcp, "memory of TCP buffers");
	number(p, "memory.swappiness", o->memory_swappiness, "swappiness");
	if (o->memory_oom_kill_disable != LIMIT_UNSET) {
		struct limit_write *w = plan_number(p, "memory.oom_control", o->memory_oom_kill_disable, "the OOM killer");
		w->shape = SHAPE_VALUE;
		snprintf(w->key, sizeof w->key, "oom_kill_disable");
	}
}

static void cpu(struct limit_plan *p, const struct resources *o)
{
	number(p, "cpu.shares", o->cpu_shares, "cpu shares");
	number(p, "cpu.cfs_period_us", o->cpu_period, "cpu period");
	number(p, "cpu.cfs_quota_us", o->cpu_quota, "cpu quota");
	number(p, "cpu.cfs_burst_us", o->cpu_burst, "cpu burst");
	number(p, "cpu.rt_period_us", o->cpu_rt_period, "realtime period");
	number(p, "cpu.rt_runtime_us", o->cpu_rt_runtime, "realtime runtime");
	number(p, "cpu.idle", o->cpu_idle, "cpu idle");
}

/* The bare names went with the CFQ scheduler; BFQ has its own. */
static const char *weight_file(const struct limit_plan *p, const char *plain, const char *bfq)
{
	return plan_has(p, plain) || !plan_has(p, bfq) ? plain : bfq;
}

static void block_weights(struct limit_plan *p, const struct resources *o)
{
	number(p, weight_file(p, "blkio.weight", "blkio.bfq.weight"), o->block_weight, "block weight");
	number(p, "blkio.leaf_weight", o->block_leaf_weight, "block leaf weight");
	for (size_t i = 0; i < o->block_weight_count; i++) {
		const struct block_weight *b = &o->block_weights[i];
		char key[32], none[48];
		snprintf(key, sizeof key, "%u:%u", b->major, b->minor);
		snprintf(none, sizeof none, "%s default", key);
		if (b->weight != LIMIT_UNSET)
			plan_keyed(plan_format(p, weight_file(p, "blkio.weight_device", "blkio.bfq.weight_device"), "block weight of a device", "%s %" PRId64, key,
					       b->weight), key, none);
		if (b->leaf_weight != LIMIT_UNSET)
			plan_keyed(plan_format(p, "blkio.leaf_weight_device", "block leaf weight of a device", "%s %" PRId64, key, b->leaf_weight), key, none);
	}
}

static void block(struct limit_plan *p, const struct resources *o)
{
	static const char *const files[THROTTLE_KINDS] = {
		[THROTTLE_READ_BPS] = "blkio.throttle.read_bps_device",   [THROTTLE_WRITE_BPS] = "blkio.throttle.write_bps_device",
		[THROTTLE_READ_IOPS] = "blkio.throttle.read_iops_device", [THROTTLE_WRITE_IOPS] = "blkio.throttle.write_iops_device",
	};
	block_weights(p, o);
	for (size_t i = 0; i < o->block_throttle_count; i++) {
		const struct block_throttle *t = &o->block_throttles[i];
		char key[32], none[48];
		snprintf(key, sizeof key, "%u:%u", t->major, t->minor);
		snprintf(none, sizeof none, "%s 0", key);
		plan_keyed(plan_format(p, files[t->kind], "block device throttling", "%s %" PRIu64, key, t->rate), key, none);
	}
}

static void huge_pages(struct limit_plan *p, const struct resources *o)
{
	for (size_t i = 0; i < o->huge_page_count; i++) {
		const struct huge_page_limit *h = &o->huge_pages[i];
		plan_name(plan_format(p, "hugetlb", "huge pages", "%" PRIu64, h->limit), h->page_size, "limit_in_bytes");
		/* Else what is reserved and not yet touched would not count. */
		struct limit_write *w = plan_format(p, "hugetlb", "reserved huge pages", "%" PRIu64, h->limit);
		plan_name(w, h->page_size, "rsvd.limit_in_bytes");
		w->optional = true;
	}
}

static void priorities(struct limit_plan *p, const struct resources *o)
{
	for (size_t i = 0; i < o->network_priority_count; i++) {
		const struct interface_priority *n = &o->network_priorities[i];
		char none[32];
		snprintf(none, sizeof none, "%s 0", n->name);
		plan_keyed(plan_format(p, "net_prio.ifpriomap", "network priority", "%s %u", n->name, n->priority), n->name, none);
	}
}

static void device_rule(struct limit_plan *p, const struct device_rule *d)
{
	char major[24] = "*", minor[24] = "*";
	const char *file = d->allow ? "devices.allow" : "devices.deny";
	if (d->major >= 0)
		snprintf(major, sizeof major, "%" PRId64, d->major);
	if (d->minor >= 0)
		snprintf(minor, sizeof minor, "%" PRId64, d->minor);
	struct limit_write *w = d->type == 'a' ? plan_text(p, file, "a", "devices")
					       : plan_format(p, file, "devices", "%c %s:%s %s", d->type, major, minor, d->access);
	w->shape = SHAPE_NONE;
}

const struct device_rule default_device_rules[DEFAULT_DEVICE_RULES] = {
	{ true, 'c', 1, 3, "rwm" }, { true, 'c', 1, 5, "rwm" }, { true, 'c', 1, 7, "rwm" }, { true, 'c', 1, 8, "rwm" },    { true, 'c', 1, 9, "rwm" },
	{ true, 'c', 5, 0, "rwm" }, { true, 'c', 5, 1, "rwm" }, { true, 'c', 5, 2, "rwm" }, { true, 'c', 136, -1, "rwm" },
};

static void devices(struct limit_plan *p, const struct resources *o)
{
	for (size_t i = 0; i < o->device_count; i++)
		device_rule(p, &o->devices[i]);
	for (size_t i = 0; o->device_count && i < DEFAULT_DEVICE_RULES; i++)
		device_rule(p, &default_device_rules[i]);
}

int limits_plan_v1(struct limit_plan *p, unsigned controllers, const struct resources *o, struct rt_error *err)
{
	(void)err;
	if (controllers & CG_BIT(CG_MEMORY))
		memory(p, o);
	if (controllers & CG_BIT(CG_CPU))
		cpu(p, o);
	if (controllers & CG_BIT(CG_BLKIO))
		block(p, o);
	if (controllers & CG_BIT(CG_HUGETLB))
		huge_pages(p, o);
	if (controllers & CG_BIT(CG_NET_CLS))
		number(p, "net_cls.classid", o->network_class, "network class");
	if (controllers & CG_BIT(CG_NET_PRIO))
		priorities(p, o);
	limits_plan_alike(p, controllers, o);
	/* Last: they cannot be taken back. */
	if (controllers & CG_BIT(CG_DEVICES))
		devices(p, o);
	return 0;
}
