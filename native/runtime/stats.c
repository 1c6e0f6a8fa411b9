#include "runtime/stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/fs.h"
#include "common/scope.h"

#define STAT_MAX 65536
#define NS_PER_TICK 10000000u /* USER_HZ is 100 in every ABI that this runs on */

/* The container's directory in the hierarchy of a controller; -1 when there is none. */
static int open_dir(const struct cg_layout *l, enum cg_controller c, const char *path, bool *v2)
{
	char dir[PATH_MAX];
	struct rt_error ignored = { 0 };
	/* v2 has cpu time in the core: no controller is needed to count it. */
	const struct cg_hierarchy *h = cg_of(l, c);
	if (!h && c == CG_CPUACCT && l->unified >= 0)
		h = &l->hierarchies[l->unified];
	if (!h || cg_dir(h, path, dir, sizeof dir, &ignored) < 0)
		return -1;
	*v2 = h->v2;
	return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static char *read_text(int dir, const char *file)
{
	struct rt_error ignored = { 0 };
	char *text = NULL;
	return fs_read_file(dir, file, STAT_MAX, &text, NULL, &ignored) < 0 ? NULL : text;
}

/* A number in a file; "max" and a file that is not there are 0. */
static uint64_t number(int dir, const char *file)
{
	struct rt_error ignored = { 0 };
	uint64_t v;
	return fs_read_u64(dir, file, &v, &ignored) < 0 || v == UINT64_MAX ? 0 : v;
}

static uint64_t keyed(const char *text, const char *key)
{
	uint64_t v = text ? cg_keyed(text, key) : CG_UNKNOWN;
	return v == CG_UNKNOWN ? 0 : v;
}

static void field(struct json_out *o, const char *key, uint64_t v)
{
	json_out_key(o, key);
	json_out_uint(o, v);
}

static void open_object(struct json_out *o, const char *key)
{
	json_out_key(o, key);
	json_out_open(o, '{');
}

static void per_cpu(struct json_out *o, const char *text)
{
	json_out_key(o, "percpu");
	json_out_open(o, '[');
	for (const char *p = text; p && *p >= '0' && *p <= '9';) {
		char *end;
		json_out_uint(o, strtoull(p, &end, 10));
		p = end + strspn(end, " ");
	}
	json_out_close(o, ']');
}

static void write_cpu(struct json_out *o, const struct cg_layout *l, const char *path)
{
	bool v2 = false, quota_v2 = false;
	cleanup_fd int account = open_dir(l, CG_CPUACCT, path, &v2), quota = open_dir(l, CG_CPU, path, &quota_v2);
	cleanup_free char *used = read_text(account, v2 ? "cpu.stat" : "cpuacct.stat"), *throttled = read_text(quota, "cpu.stat");
	open_object(o, "cpu");
	open_object(o, "usage");
	if (v2) {
		field(o, "total", keyed(used, "usage_usec") * 1000);
		field(o, "kernel", keyed(used, "system_usec") * 1000);
		field(o, "user", keyed(used, "user_usec") * 1000);
	} else {
		cleanup_free char *cpus = read_text(account, "cpuacct.usage_percpu");
		field(o, "total", number(account, "cpuacct.usage"));
		per_cpu(o, cpus);
		field(o, "kernel", keyed(used, "system") * NS_PER_TICK);
		field(o, "user", keyed(used, "user") * NS_PER_TICK);
	}
	json_out_close(o, '}');
	open_object(o, "throttling");
	field(o, "periods", keyed(throttled, "nr_periods"));
	field(o, "throttledPeriods", keyed(throttled, "nr_throttled"));
	field(o, "throttledTime", quota_v2 ? keyed(throttled, "throttled_usec") * 1000 : keyed(throttled, "throttled_time"));
	json_out_close(o, '}');
	json_out_close(o, '}');
}

static void memory_entry(struct json_out *o, const char *key, uint64_t limit, uint64_t usage, uint64_t max, uint64_t failures)
{
	open_object(o, key);
	field(o, "limit", limit);
	field(o, "usage", usage);
	field(o, "max", max);
	field(o, "failcnt", failures);
	json_out_close(o, '}');
}

static void memory_v1(struct json_out *o, int dir, const char *key, const char *prefix)
{
	static const char *const files[] = { "limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes", "failcnt" };
	uint64_t v[4];
	for (int i = 0; i < 4; i++) {
		char name[64];
		snprintf(name, sizeof name, "%s.%s", prefix, files[i]);
		v[i] = number(dir, name);
	}
	memory_entry(o, key, v[0], v[1], v[2], v[3]);
}

/* "key value" lines as one object. */
static void write_raw(struct json_out *o, const char *text)
{
	open_object(o, "raw");
	for (const char *p = text; p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
		char key[64];
		size_t n = strcspn(p, " \n");
		if (p[n] != ' ' || n >= sizeof key)
			continue;
		memcpy(key, p, n);
		key[n] = 0;
		field(o, key, strtoull(p + n + 1, NULL, 10));
	}
	json_out_close(o, '}');
}

static void write_memory(struct json_out *o, const struct cg_layout *l, const char *path)
{
	bool v2 = false;
	cleanup_fd int dir = open_dir(l, CG_MEMORY, path, &v2);
	cleanup_free char *stat = read_text(dir, "memory.stat");
	open_object(o, "memory");
	field(o, "cache", keyed(stat, v2 ? "file" : "cache"));
	if (v2) {
		cleanup_free char *events = read_text(dir, "memory.events");
		uint64_t usage = number(dir, "memory.current"), limit = number(dir, "memory.max"), swap_limit = number(dir, "memory.swap.max");
		memory_entry(o, "usage", limit, usage, number(dir, "memory.peak"), keyed(events, "max"));
		/* Readers expect memory and swap together, as v1 counts them. */
		memory_entry(o, "swap", swap_limit ? swap_limit + limit : 0, number(dir, "memory.swap.current") + usage, 0, 0);
	} else {
		memory_v1(o, dir, "usage", "memory");
		memory_v1(o, dir, "swap", "memory.memsw");
		memory_v1(o, dir, "kernel", "memory.kmem");
		memory_v1(o, dir, "kernelTCP", "memory.kmem.tcp");
	}
	write_raw(o, stat);
	json_out_close(o, '}');
}

static void write_pids(struct json_out *o, const struct cg_layout *l, const char *path)
{
	bool v2;
	cleanup_fd int dir = open_dir(l, CG_PIDS, path, &v2);
	open_object(o, "pids");
	field(o, "current", number(dir, "pids.current"));
	field(o, "limit", number(dir, "pids.max"));
	json_out_close(o, '}');
}

static void block_entry(struct json_out *o, unsigned major, unsigned minor, const char *op, uint64_t value)
{
	json_out_open(o, '{');
	field(o, "major", major);
	field(o, "minor", minor);
	json_out_key(o, "op");
	json_out_str(o, op);
	field(o, "value", value);
	json_out_close(o, '}');
}

/* v1: "8:0 Read 4096" lines. */
static void block_v1(struct json_out *o, const char *key, const char *text)
{
	json_out_key(o, key);
	json_out_open(o, '[');
	for (const char *p = text; p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
		unsigned major, minor;
		char op[16];
		unsigned long long v;
		if (sscanf(p, "%u:%u %15s %llu", &major, &minor, op, &v) == 4)
			block_entry(o, major, minor, op, v);
	}
	json_out_close(o, ']');
}

/* v2: "8:0 rbytes=4096 wbytes=0 rios=1 ..." lines. */
static void block_v2(struct json_out *o, const char *key, const char *text, const char *const names[3])
{
	static const char *const ops[3] = { "Read", "Write", "Discard" };
	json_out_key(o, key);
	json_out_open(o, '[');
	for (const char *p = text; p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
		unsigned major, minor;
		if (sscanf(p, "%u:%u", &major, &minor) != 2)
			continue;
		const char *end = p + strcspn(p, "\n");
		for (int i = 0; i < 3; i++) {
			const char *at = strstr(p, names[i]);
			if (at && at < end)
				block_entry(o, major, minor, ops[i], strtoull(at + strlen(names[i]), NULL, 10));
		}
	}
	json_out_close(o, ']');
}

static void write_blkio(struct json_out *o, const struct cg_layout *l, const char *path)
{
	static const char *const bytes[3] = { "rbytes=", "wbytes=", "dbytes=" }, *const counts[3] = { "rios=", "wios=", "dios=" };
	bool v2 = false;
	cleanup_fd int dir = open_dir(l, CG_BLKIO, path, &v2);
	open_object(o, "blkio");
	if (v2) {
		cleanup_free char *text = read_text(dir, "io.stat");
		block_v2(o, "ioServiceBytesRecursive", text, bytes);
		block_v2(o, "ioServicedRecursive", text, counts);
	} else {
		cleanup_free char *amount = read_text(dir, "blkio.throttle.io_service_bytes_recursive"), *times = read_text(dir, "blkio.throttle.io_serviced_recursive");
		block_v1(o, "ioServiceBytesRecursive", amount);
		block_v1(o, "ioServicedRecursive", times);
	}
	json_out_close(o, '}');
}

/* One page size, known by the file that says how much of it is in use. */
static void huge_page(struct json_out *o, int dir, const char *size, int len, bool v2)
{
	char file[64], key[24];
	snprintf(key, sizeof key, "%.*s", len, size);
	open_object(o, key);
	snprintf(file, sizeof file, v2 ? "hugetlb.%s.current" : "hugetlb.%s.usage_in_bytes", key);
	field(o, "usage", number(dir, file));
	snprintf(file, sizeof file, "hugetlb.%s.max_usage_in_bytes", key);
	field(o, "max", v2 ? 0 : number(dir, file));
	snprintf(file, sizeof file, v2 ? "hugetlb.%s.events" : "hugetlb.%s.failcnt", key);
	cleanup_free char *events = v2 ? read_text(dir, file) : NULL;
	field(o, "failcnt", v2 ? keyed(events, "max") : number(dir, file));
	json_out_close(o, '}');
}

static void write_huge_pages(struct json_out *o, const struct cg_layout *l, const char *path)
{
	bool v2 = false;
	cleanup_fd int dir = open_dir(l, CG_HUGETLB, path, &v2);
	const char *suffix = v2 ? ".current" : ".usage_in_bytes";
	int copy = dir < 0 ? -1 : openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = copy < 0 ? NULL : fdopendir(copy);
	open_object(o, "hugetlb");
	for (struct dirent *e; d && (e = readdir(d));) {
		size_t n = strlen(e->d_name), tail = strlen(suffix);
		if (!strncmp(e->d_name, "hugetlb.", 8) && n > 8 + tail && !strcmp(e->d_name + n - tail, suffix) && !strstr(e->d_name, ".rsvd"))
			huge_page(o, dir, e->d_name + 8, (int)(n - tail - 8), v2);
	}
	json_out_close(o, '}');
}

void stats_write(struct json_out *o, const struct cg_layout *l, const char *path)
{
	json_out_open(o, '{');
	write_cpu(o, l, path);
	write_memory(o, l, path);
	write_pids(o, l, path);
	write_blkio(o, l, path);
	write_huge_pages(o, l, path);
	json_out_key(o, "network_interfaces");
	json_out_open(o, '[');
	json_out_close(o, ']');
	json_out_close(o, '}');
}
