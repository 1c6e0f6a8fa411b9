#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/cgroups.h"

static int write_number(const char *dir, const char *file, int64_t v, const char *what, struct rt_error *err)
{
	char text[32];
	snprintf(text, sizeof text, "%" PRId64, v);
	return limit_write(dir, file, text, what, err);
}

/* v2 says "max" where the specification says -1. */
static int write_v2(const char *dir, const char *file, int64_t v, const char *what, struct rt_error *err)
{
	return v < 0 ? limit_write(dir, file, "max", what, err) : write_number(dir, file, v, what, err);
}

static int memory_v1(const struct resources *o, const char *dir, struct rt_error *err)
{
	int r = 0;
	if (o->memory_limit != LIMIT_UNSET && (r = write_number(dir, "memory.limit_in_bytes", o->memory_limit, "memory", err)) < 0)
		return r;
	if (o->memory_swap != LIMIT_UNSET && (r = write_number(dir, "memory.memsw.limit_in_bytes", o->memory_swap, "swap", err)) < 0)
		return r;
	if (o->memory_reservation != LIMIT_UNSET && (r = write_number(dir, "memory.soft_limit_in_bytes", o->memory_reservation, "memory reservation", err)) < 0)
		return r;
	if (o->memory_swappiness != LIMIT_UNSET && (r = write_number(dir, "memory.swappiness", o->memory_swappiness, "swappiness", err)) < 0)
		return r;
	return o->memory_disable_oom_killer ? limit_write(dir, "memory.oom_control", "1", "the OOM killer", err) : 0;
}

static int cpu_v1(const struct resources *o, const char *dir, struct rt_error *err)
{
	int r = 0;
	if (o->cpu_shares != LIMIT_UNSET && (r = write_number(dir, "cpu.shares", o->cpu_shares, "cpu shares", err)) < 0)
		return r;
	if (o->cpu_period != LIMIT_UNSET && (r = write_number(dir, "cpu.cfs_period_us", o->cpu_period, "cpu period", err)) < 0)
		return r;
	if (o->cpu_quota != LIMIT_UNSET && (r = write_number(dir, "cpu.cfs_quota_us", o->cpu_quota, "cpu quota", err)) < 0)
		return r;
	if (o->cpu_burst != LIMIT_UNSET && (r = write_number(dir, "cpu.cfs_burst_us", o->cpu_burst, "cpu burst", err)) < 0)
		return r;
	return o->cpu_idle != LIMIT_UNSET ? write_number(dir, "cpu.idle", o->cpu_idle, "cpu idle", err) : 0;
}

static int cpuset(const struct resources *o, const char *dir, struct rt_error *err)
{
	int r = o->cpuset_cpus ? limit_write(dir, "cpuset.cpus", o->cpuset_cpus, "cpus", err) : 0;
	if (r == 0 && o->cpuset_mems)
		r = limit_write(dir, "cpuset.mems", o->cpuset_mems, "memory nodes", err);
	return r;
}

static int device_rule_v1(const char *dir, bool allow, char type, int64_t major, int64_t minor, const char *access, struct rt_error *err)
{
	char text[64], a[24] = "*", b[24] = "*";
	if (major >= 0)
		snprintf(a, sizeof a, "%" PRId64, major);
	if (minor >= 0)
		snprintf(b, sizeof b, "%" PRId64, minor);
	snprintf(text, sizeof text, "%c %s:%s %s", type, a, b, access);
	return limit_write(dir, allow ? "devices.allow" : "devices.deny", type == 'a' ? "a" : text, "devices", err);
}

const struct device_rule default_device_rules[DEFAULT_DEVICE_RULES] = {
	{ true, 'c', 1, 3, "rwm" }, { true, 'c', 1, 5, "rwm" }, { true, 'c', 1, 7, "rwm" }, { true, 'c', 1, 8, "rwm" },    { true, 'c', 1, 9, "rwm" },
	{ true, 'c', 5, 0, "rwm" }, { true, 'c', 5, 1, "rwm" }, { true, 'c', 5, 2, "rwm" }, { true, 'c', 136, -1, "rwm" },
};

static int devices_v1(const struct resources *o, const char *dir, struct rt_error *err)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < o->device_count; i++) {
		const struct device_rule *d = &o->devices[i];
		r = device_rule_v1(dir, d->allow, d->type, d->major, d->minor, d->access, err);
	}
	for (size_t i = 0; r == 0 && o->device_count && i < DEFAULT_DEVICE_RULES; i++) {
		const struct device_rule *d = &default_device_rules[i];
		r = device_rule_v1(dir, true, d->type, d->major, d->minor, d->access, err);
	}
	return r;
}

int limits_apply_v1(const struct config *c, unsigned controllers, const char *dir, struct rt_error *err)
{
	const struct resources *o = &c->resources;
	int r = 0;
	if (controllers & CG_BIT(CG_MEMORY))
		r = memory_v1(o, dir, err);
	if (r == 0 && (controllers & CG_BIT(CG_CPU)))
		r = cpu_v1(o, dir, err);
	if (r == 0 && (controllers & CG_BIT(CG_PIDS)) && o->pids_limit != LIMIT_UNSET)
		r = write_v2(dir, "pids.max", o->pids_limit, "pids", err);
	if (r == 0 && (controllers & CG_BIT(CG_CPUSET)))
		r = cpuset(o, dir, err);
	if (r == 0 && (controllers & CG_BIT(CG_DEVICES)))
		r = devices_v1(o, dir, err);
	return r;
}

static int memory_v2(const struct resources *o, const char *dir, struct rt_error *err)
{
	int r = 0;
	if (o->memory_limit != LIMIT_UNSET && (r = write_v2(dir, "memory.max", o->memory_limit, "memory", err)) < 0)
		return r;
	if (o->memory_swap != LIMIT_UNSET) {
		/* v2 counts swap alone. */
		int64_t swap = o->memory_swap < 0 ? -1 : o->memory_swap - o->memory_limit;
		if ((r = write_v2(dir, "memory.swap.max", swap, "swap", err)) < 0)
			return r;
	}
	if (o->memory_reservation != LIMIT_UNSET && (r = write_v2(dir, "memory.low", o->memory_reservation, "memory reservation", err)) < 0)
		return r;
	if (o->memory_swappiness != LIMIT_UNSET || o->memory_disable_oom_killer)
		return rt_fail(err, ENOTSUP, "cgroup v2 has no swappiness and no switch for the OOM killer");
	return 0;
}

static int cpu_v2(const struct resources *o, const char *dir, struct rt_error *err)
{
	char text[64];
	int r = 0;
	if (o->cpu_shares != LIMIT_UNSET) {
		/* 2..262144 onto 1..10000, as every runtime does. */
		int64_t shares = o->cpu_shares < 2 ? 2 : o->cpu_shares;
		if ((r = write_number(dir, "cpu.weight", 1 + (shares - 2) * 9999 / 262142, "cpu shares", err)) < 0)
			return r;
	}
	if (o->cpu_quota != LIMIT_UNSET || o->cpu_period != LIMIT_UNSET) {
		int64_t period = o->cpu_period != LIMIT_UNSET ? o->cpu_period : 100000;
		if (o->cpu_quota > 0)
			snprintf(text, sizeof text, "%" PRId64 " %" PRId64, o->cpu_quota, period);
		else
			snprintf(text, sizeof text, "max %" PRId64, period);
		if ((r = limit_write(dir, "cpu.max", text, "cpu quota", err)) < 0)
			return r;
	}
	if (o->cpu_burst != LIMIT_UNSET && (r = write_number(dir, "cpu.max.burst", o->cpu_burst, "cpu burst", err)) < 0)
		return r;
	return o->cpu_idle != LIMIT_UNSET ? write_number(dir, "cpu.idle", o->cpu_idle, "cpu idle", err) : 0;
}

int limits_apply_v2(const struct config *c, unsigned controllers, const char *dir, struct rt_error *err)
{
	const struct resources *o = &c->resources;
	int r = 0;
	if (controllers & CG_BIT(CG_MEMORY))
		r = memory_v2(o, dir, err);
	if (r == 0 && (controllers & CG_BIT(CG_CPU)))
		r = cpu_v2(o, dir, err);
	if (r == 0 && (controllers & CG_BIT(CG_PIDS)) && o->pids_limit != LIMIT_UNSET)
		r = write_v2(dir, "pids.max", o->pids_limit, "pids", err);
	if (r == 0 && (controllers & CG_BIT(CG_CPUSET)))
		r = cpuset(o, dir, err);
	json_each(n, o->unified) {
		if (r == 0)
			r = limit_write(dir, n->key, n->string, n->key, err);
	}
	return r;
}
