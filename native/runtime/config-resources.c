#include <errno.h>
#include <string.h>

#include "runtime/config.h"

static bool is_empty(const struct json *n)
{
	uint64_t v;
	return !n || (n->type == JSON_OBJECT && !n->count) || (n->type == JSON_ARRAY && !n->count) || (n->type == JSON_STRING && !n->count) ||
	       (n->type == JSON_BOOL && !n->boolean) || (json_u64(n, &v) && v == 0);
}

static int refuse(const struct json *obj, const char *where, const char *const *fields, struct rt_error *err)
{
	for (; *fields; fields++) {
		if (!is_empty(json_get(obj, *fields)))
			return rt_fail(err, ENOTSUP, "config.json: %s.%s is not supported", where, *fields);
	}
	return 0;
}

static int parse_memory(struct resources *o, const struct json *m, struct rt_error *err)
{
	static const char *const unsupported[] = { "kernel", "kernelTCP", NULL };
	int r;
	if ((r = refuse(m, "linux.resources.memory", unsupported, err)) < 0 || (r = config_int(m, "limit", -1, INT64_MAX, &o->memory_limit, err)) < 0 ||
	    (r = config_int(m, "swap", -1, INT64_MAX, &o->memory_swap, err)) < 0 ||
	    (r = config_int(m, "reservation", -1, INT64_MAX, &o->memory_reservation, err)) < 0 ||
	    (r = config_int(m, "swappiness", 0, 200, &o->memory_swappiness, err)) < 0 ||
	    (r = config_bool(m, "disableOOMKiller", &o->memory_disable_oom_killer, err)) < 0)
		return r;
	/* Engines write 0 for "not set". */
	if (o->memory_limit == 0)
		o->memory_limit = LIMIT_UNSET;
	if (o->memory_swap == 0)
		o->memory_swap = LIMIT_UNSET;
	if (o->memory_reservation == 0)
		o->memory_reservation = LIMIT_UNSET;
	if (o->memory_swap > 0 && o->memory_limit <= 0)
		return rt_fail(err, EINVAL, "config.json: memory.swap needs memory.limit");
	if (o->memory_swap > 0 && o->memory_swap < o->memory_limit)
		return rt_fail(err, EINVAL, "config.json: memory.swap counts memory and swap together, so it is at least memory.limit");
	return 0;
}

static int parse_cpu(struct resources *o, const struct json *n, struct rt_error *err)
{
	static const char *const unsupported[] = { "realtimeRuntime", "realtimePeriod", NULL };
	int r;
	if ((r = refuse(n, "linux.resources.cpu", unsupported, err)) < 0 || (r = config_int(n, "shares", 0, 262144, &o->cpu_shares, err)) < 0 ||
	    (r = config_int(n, "quota", INT64_MIN + 1, INT64_MAX, &o->cpu_quota, err)) < 0 ||
	    (r = config_int(n, "period", 0, 1000000, &o->cpu_period, err)) < 0 || (r = config_int(n, "burst", 0, INT64_MAX, &o->cpu_burst, err)) < 0 ||
	    (r = config_int(n, "idle", 0, 1, &o->cpu_idle, err)) < 0 || (r = config_string(n, "cpus", &o->cpuset_cpus, err)) < 0 ||
	    (r = config_string(n, "mems", &o->cpuset_mems, err)) < 0)
		return r;
	if (o->cpu_shares == 0)
		o->cpu_shares = LIMIT_UNSET;
	if (o->cpu_period == 0)
		o->cpu_period = LIMIT_UNSET;
	if (o->cpu_quota == 0)
		o->cpu_quota = LIMIT_UNSET;
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
	if (strlen(type) != 1 || !strchr("abcu", *type) || d->access[strspn(d->access, "rwm")])
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
	o->devices = config_alloc(c, list ? list->count : 0, sizeof *o->devices);
	if (!o->devices)
		return rt_fail(err, ENOMEM, "config.json: device rules");
	json_each(n, list) {
		if ((r = parse_rule(n, &o->devices[o->device_count++], err)) < 0)
			return r;
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
	static const char *const unsupported[] = { "blockIO", "hugepageLimits", "network", "rdma", NULL };
	struct resources *o = &c->resources;
	const struct json *memory, *cpu, *pids;
	int r;
	*o = (struct resources){
		.memory_limit = LIMIT_UNSET, .memory_swap = LIMIT_UNSET, .memory_reservation = LIMIT_UNSET, .memory_swappiness = LIMIT_UNSET,
		.cpu_shares = LIMIT_UNSET, .cpu_quota = LIMIT_UNSET, .cpu_period = LIMIT_UNSET, .cpu_burst = LIMIT_UNSET, .cpu_idle = LIMIT_UNSET,
		.pids_limit = LIMIT_UNSET,
	};
	if ((r = refuse(res, "linux.resources", unsupported, err)) < 0 || (r = config_object(res, "memory", &memory, err)) < 0 ||
	    (r = config_object(res, "cpu", &cpu, err)) < 0 || (r = config_object(res, "pids", &pids, err)) < 0 ||
	    (r = config_object(res, "unified", &o->unified, err)) < 0 || (r = check_unified(o->unified, err)) < 0 ||
	    (r = parse_memory(o, memory, err)) < 0 || (r = parse_cpu(o, cpu, err)) < 0 || (r = parse_rules(c, res, err)) < 0 ||
	    (r = config_int(pids, "limit", -1, INT64_MAX, &o->pids_limit, err)) < 0)
		return r;
	if (o->pids_limit == 0)
		o->pids_limit = LIMIT_UNSET;
	return 0;
}
