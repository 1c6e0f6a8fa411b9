#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/lifecycle.h"
#include "runtime/limits.h"

/* "100", "64m", "1GiB", "-1" (no limit): multiples of 1024, as engines' users write them. */
static int parse_bytes(const char *option, const char *text, int64_t *out, struct rt_error *err)
{
	static const char units[] = "bkmgtp";
	char *end;
	errno = 0;
	long long v = strtoll(text, &end, 10);
	bool ok = end != text && !errno && v >= -1;
	const char *unit = *end ? strchr(units, tolower((unsigned char)*end)) : units;
	ok = ok && unit && (v >= 0 || !*end);
	if (ok && *end && unit != units) {
		end++;
		end += *end == 'i' || *end == 'I';
	}
	if (ok && (*end == 'b' || *end == 'B'))
		end++;
	for (long shift = unit ? unit - units : 0; ok && shift > 0; shift--)
		ok = !__builtin_mul_overflow(v, 1024, &v);
	if (!ok || *end)
		return rt_fail(err, EINVAL, "--%s \"%s\" is not a number of bytes like 104857600, 100m or -1", option, text);
	*out = v;
	return 0;
}

static int parse_number(const char *option, const char *text, int64_t min, int64_t max, int64_t *out, struct rt_error *err)
{
	char *end;
	errno = 0;
	long long v = strtoll(text, &end, 10);
	if (end == text || *end || errno || v < min || v > max)
		return rt_fail(err, EINVAL, "--%s must be a number from %lld to %lld, not \"%s\"", option, (long long)min, (long long)max, text);
	*out = v;
	return 0;
}

static int set_bytes(const struct update_options *u, struct resources *r, struct rt_error *err)
{
	const struct { const char *option, *text; int64_t *out; } fields[] = {
		{ "memory", u->memory, &r->memory_limit },
		{ "memory-reservation", u->memory_reservation, &r->memory_reservation },
		{ "memory-swap", u->memory_swap, &r->memory_swap },
	};
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		if (fields[i].text && *fields[i].text && parse_bytes(fields[i].option, fields[i].text, fields[i].out, err) < 0)
			return -err->code;
		/* Engines write 0 for "leave it". */
		if (*fields[i].out == 0)
			*fields[i].out = LIMIT_UNSET;
	}
	return 0;
}

static int set_numbers(const struct update_options *u, struct resources *r, struct rt_error *err)
{
	const struct { const char *option, *text; int64_t min, max; bool zero_counts; int64_t *out; } fields[] = {
		{ "blkio-weight", u->blkio_weight, 0, 1000, false, &r->block_weight },
		{ "cpu-period", u->cpu_period, 0, 1000000, false, &r->cpu_period },
		{ "cpu-quota", u->cpu_quota, -1, INT64_MAX, false, &r->cpu_quota },
		{ "cpu-burst", u->cpu_burst, 0, INT64_MAX, true, &r->cpu_burst },
		{ "cpu-share", u->cpu_share, 0, 262144, false, &r->cpu_shares },
		{ "cpu-rt-period", u->cpu_rt_period, 0, INT64_MAX, false, &r->cpu_rt_period },
		{ "cpu-rt-runtime", u->cpu_rt_runtime, -1, INT64_MAX, false, &r->cpu_rt_runtime },
		{ "cpu-idle", u->cpu_idle, 0, 1, true, &r->cpu_idle },
		{ "pids-limit", u->pids_limit, -1, INT64_MAX, false, &r->pids_limit },
	};
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		if (!fields[i].text || !*fields[i].text)
			continue;
		if (parse_number(fields[i].option, fields[i].text, fields[i].min, fields[i].max, fields[i].out, err) < 0)
			return -err->code;
		if (*fields[i].out == 0 && !fields[i].zero_counts)
			*fields[i].out = LIMIT_UNSET;
	}
	return 0;
}

static int refuse(const struct update_options *u, struct rt_error *err)
{
	const struct { const char *option, *text; } fields[] = {
		{ "l3-cache-schema", u->l3_cache }, { "mem-bw-schema", u->memory_bandwidth }, { "kernel-memory", u->kernel_memory }, { "kernel-memory-tcp", u->kernel_memory_tcp },
	};
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		if (fields[i].text && *fields[i].text)
			return rt_fail(err, ENOTSUP, "--%s is not supported", fields[i].option);
	}
	return 0;
}

static int read_resources(const char *path, struct config *c, struct rt_error *err)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r = !strcmp(path, "-") ? fs_read_fd(STDIN_FILENO, "stdin", JSON_MAX_BYTES, &text, &len, err)
				   : fs_read_file(AT_FDCWD, path, JSON_MAX_BYTES, &text, &len, err);
	if (r == 0 && (r = json_parse(text, len, &c->doc, err)) == 0 && (r = config_parse_resources(c, json_root(c->doc), err)) == 0)
		return 0;
	rt_prefix(err, "--resources %s", path);
	return r;
}

static int read_options(const struct update_options *u, struct config *c, struct rt_error *err)
{
	int r;
	if (u->resources)
		r = read_resources(u->resources, c, err);
	else
		r = json_parse("{}", 2, &c->doc, err) < 0 ? -err->code : config_parse_resources(c, json_root(c->doc), err);
	if (r < 0 || (r = refuse(u, err)) < 0 || (r = set_bytes(u, &c->resources, err)) < 0 || (r = set_numbers(u, &c->resources, err)) < 0)
		return r;
	if (u->cpuset_cpus && *u->cpuset_cpus)
		c->resources.cpuset_cpus = u->cpuset_cpus;
	if (u->cpuset_mems && *u->cpuset_mems)
		c->resources.cpuset_mems = u->cpuset_mems;
	return 0;
}

int container_update(const struct container_options *o, struct rt_error *err)
{
	cleanup_state struct state s = { 0 };
	struct config c = { 0 };
	struct cg_layout layout;
	cleanup_fd int dir = container_open(o, true, &s, err);
	if (dir < 0)
		return dir;
	if (state_status(dir, &s) == STATUS_STOPPED || !s.cgroups_path)
		return rt_fail(err, EINVAL, "container not running: %s", o->id);
	int r = read_options(&o->update, &c, err);
	if (r == 0 && (r = cg_detect(&layout, err)) == 0)
		r = limits_update(&layout, s.cgroups_path, &c.resources, err);
	config_free(&c);
	return r;
}
