#include <errno.h>
#include <string.h>

#include "runtime/config.h"

static const char *const memory_fields[] = { "limit", "swap", "reservation", NULL };

static void unset(struct resources *o)
{
	*o = (struct resources){
		.memory_limit = LIMIT_UNSET, .memory_swap = LIMIT_UNSET, .memory_reservation = LIMIT_UNSET, .memory_kernel_tcp = LIMIT_UNSET,
		.memory_swappiness = LIMIT_UNSET, .memory_oom_kill_disable = LIMIT_UNSET, .cpu_shares = LIMIT_UNSET, .cpu_quota = LIMIT_UNSET,
		.cpu_period = LIMIT_UNSET, .cpu_burst = LIMIT_UNSET, .cpu_idle = LIMIT_UNSET, .cpu_rt_runtime = LIMIT_UNSET, .cpu_rt_period = LIMIT_UNSET,
		.pids_limit = LIMIT_UNSET, .block_weight = LIMIT_UNSET, .block_leaf_weight = LIMIT_UNSET, .network_class = LIMIT_UNSET,
	};
}

/* Engines write 0 for "not set". */
static void zero_is_unset(int64_t *v)
{
	if (*v == 0)
		*v = LIMIT_UNSET;
}

static int parse_kernel_memory(struct resources *o, const struct json *m, struct rt_error *err)
{
	int64_t kernel = 0;
	bool hierarchy = true, disable = false;
	int r;
	if ((r = config_int(m, "kernel", -1, INT64_MAX, &kernel, err)) < 0 || (r = config_int(m, "kernelTCP", -1, INT64_MAX, &o->memory_kernel_tcp, err)) < 0 ||
	    (r = config_bool(m, "useHierarchy", &hierarchy, err)) < 0 || (r = config_bool(m, "disableOOMKiller", &disable, err)) < 0 ||
	    (r = config_bool(m, "checkBeforeUpdate", &o->memory_check_before_update, err)) < 0)
		return r;
	zero_is_unset(&o->memory_kernel_tcp);
	/* The kernel's share counts within memory.limit, so a bound that is no tighter is kept already. */
	if (kernel > 0 && (o->memory_limit <= 0 || kernel < o->memory_limit))
		return rt_fail(err, ENOTSUP, "config.json: memory.kernel is not supported below memory.limit: Linux dropped it in 5.16");
	if (!hierarchy)
		return rt_fail(err, ENOTSUP, "config.json: memory.useHierarchy false is not supported: Linux always counts descendants since 5.11");
	if (json_get(m, "disableOOMKiller"))
		o->memory_oom_kill_disable = disable;
	return 0;
}

static int parse_memory(struct resources *o, const struct json *m, struct rt_error *err)
{
	int64_t *const values[] = { &o->memory_limit, &o->memory_swap, &o->memory_reservation };
	int r;
	for (int i = 0; memory_fields[i]; i++) {
		if ((r = config_int(m, memory_fields[i], -1, INT64_MAX, values[i], err)) < 0)
			return r;
		zero_is_unset(values[i]);
	}
	if ((r = config_int(m, "swappiness", 0, 200, &o->memory_swappiness, err)) < 0 || (r = parse_kernel_memory(o, m, err)) < 0)
		return r;
	if (o->memory_swap > 0 && o->memory_limit == -1)
		return rt_fail(err, EINVAL, "config.json: memory.swap needs memory.limit");
	if (o->memory_swap > 0 && o->memory_swap < o->memory_limit)
		return rt_fail(err, EINVAL, "config.json: memory.swap counts memory and swap together, so it is at least memory.limit");
	return 0;
}

static int parse_cpu(struct resources *o, const struct json *n, struct rt_error *err)
{
	int r;
	if ((r = config_int(n, "shares", 0, 262144, &o->cpu_shares, err)) < 0 ||
	    (r = config_int(n, "quota", INT64_MIN + 1, INT64_MAX, &o->cpu_quota, err)) < 0 ||
	    (r = config_int(n, "period", 0, 1000000, &o->cpu_period, err)) < 0 || (r = config_int(n, "burst", 0, INT64_MAX, &o->cpu_burst, err)) < 0 ||
	    (r = config_int(n, "realtimeRuntime", -1, INT64_MAX, &o->cpu_rt_runtime, err)) < 0 ||
	    (r = config_int(n, "realtimePeriod", 0, INT64_MAX, &o->cpu_rt_period, err)) < 0 ||
	    (r = config_int(n, "idle", 0, 1, &o->cpu_idle, err)) < 0 || (r = config_string(n, "cpus", &o->cpuset_cpus, err)) < 0 ||
	    (r = config_string(n, "mems", &o->cpuset_mems, err)) < 0)
		return r;
	zero_is_unset(&o->cpu_shares);
	zero_is_unset(&o->cpu_period);
	zero_is_unset(&o->cpu_quota);
	zero_is_unset(&o->cpu_rt_runtime);
	zero_is_unset(&o->cpu_rt_period);
	if (o->cpu_quota != LIMIT_UNSET && o->cpu_quota < 0)
		o->cpu_quota = -1;
	if (o->cpuset_cpus && !*o->cpuset_cpus)
		o->cpuset_cpus = NULL;
	if (o->cpuset_mems && !*o->cpuset_mems)
		o->cpuset_mems = NULL;
	return 0;
}

static int parse_rule(const struct json *n, struct device_rule *d, struct rt_error *err)
{
	const char *type = "a";
	int64_t major = -1, minor = -1;
	int r;
	*d = (struct device_rule){ .access = "rwm" };
	if ((r = config_bool(n, "allow", &d->allow, err)) < 0 || (r = config_string(n, "type", &type, err)) < 0 ||
	    (r = config_int(n, "major", -1, UINT32_MAX, &major, err)) < 0 || (r = config_int(n, "minor", -1, UINT32_MAX, &minor, err)) < 0 ||
	    (r = config_string(n, "access", &d->access, err)) < 0)
		return r;
	if (!*type)
		type = "a";
	if (!*d->access)
		d->access = "rwm";
	if (strlen(type) != 1 || !strchr("abcu", *type) || strlen(d->access) > 3 || d->access[strspn(d->access, "rwm")])
		return rt_fail(err, EINVAL, "config.json: device rule of type \"%s\", access \"%s\"", type, d->access);
	d->type = *type == 'u' ? 'c' : *type;
	d->major = major;
	d->minor = minor;
	return 0;
}

static int parse_rules(struct config *c, const struct json *res, struct rt_error *err)
{
	struct resources *o = &c->resources;
	const struct json *list;
	int r = config_list(res, "devices", &list, err);
	if (r < 0)
		return r;
	o->devices = config_alloc(c, list ? list->count + c->device_count : 0, sizeof *o->devices);
	if (!o->devices)
		return rt_fail(err, ENOMEM, "config.json: device rules");
	json_each(n, list) {
		if ((r = parse_rule(n, &o->devices[o->device_count++], err)) < 0)
			return r;
	}
	/* What linux.devices asks for is made inside, under these rules: making is allowed, using only as they say. */
	for (size_t i = 0; o->device_count && i < c->device_count; i++) {
		const struct device_spec *d = &c->devices[i];
		if (d->type == 'b' || d->type == 'c')
			o->devices[o->device_count++] = (struct device_rule){ true, d->type, d->major, d->minor, "m" };
	}
	return 0;
}

static int check_unified(const struct json *unified, struct rt_error *err)
{
	json_each(n, unified) {
		if (n->type != JSON_STRING || strchr(n->key, '/') || !strchr(n->key, '.') || n->key[0] == '.' || !strncmp(n->key, "cgroup.", 7))
			return rt_fail(err, EINVAL, "config.json: resources.unified %s is not a controller's file", n->key);
	}
	return 0;
}

int config_parse_resources(struct config *c, const struct json *res, struct rt_error *err)
{
	struct resources *o = &c->resources;
	const struct json *memory, *cpu, *pids;
	int r;
	unset(o);
	if ((r = config_object(res, "memory", &memory, err)) < 0 || (r = config_object(res, "cpu", &cpu, err)) < 0 ||
	    (r = config_object(res, "pids", &pids, err)) < 0 || (r = config_object(res, "unified", &o->unified, err)) < 0 ||
	    (r = check_unified(o->unified, err)) < 0 || (r = parse_memory(o, memory, err)) < 0 || (r = parse_cpu(o, cpu, err)) < 0 ||
	    (r = config_int(pids, "limit", -1, INT64_MAX, &o->pids_limit, err)) < 0 || (r = config_parse_io(c, res, err)) < 0)
		return r;
	zero_is_unset(&o->pids_limit);
	return parse_rules(c, res, err);
}
