#include "common/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "common/fs.h"
#include "common/scope.h"

#define CG_ROOT "/sys/fs/cgroup"

static const char *const names[CG_CONTROLLERS] = {
	[CG_MEMORY] = "memory",   [CG_CPU] = "cpu",         [CG_CPUACCT] = "cpuacct", [CG_PIDS] = "pids",      [CG_CPUSET] = "cpuset",
	[CG_DEVICES] = "devices", [CG_FREEZER] = "freezer", [CG_BLKIO] = "blkio",     [CG_HUGETLB] = "hugetlb",
	[CG_NET_CLS] = "net_cls", [CG_NET_PRIO] = "net_prio", [CG_RDMA] = "rdma",
};

const char *cg_name(enum cg_controller c)
{
	return names[c];
}

/* CG_BITs of a list of names. cgroup v2 calls blkio "io". */
static unsigned parse_names(const char *list, const char *separators)
{
	unsigned bits = 0;
	while (*list) {
		size_t n = strcspn(list, separators);
		for (int c = 0; c < CG_CONTROLLERS; c++) {
			if (strlen(names[c]) == n && !memcmp(names[c], list, n))
				bits |= CG_BIT(c);
		}
		if (n == 2 && !memcmp(list, "io", 2))
			bits |= CG_BIT(CG_BLKIO);
		list += n;
		list += strspn(list, separators);
	}
	return bits;
}

unsigned cg_parse_controllers(const char *list)
{
	return parse_names(list, " \n");
}

static void add_hierarchy(struct cg_layout *l, const char *mount, unsigned controllers, bool v2)
{
	if (l->count == CG_MAX_HIERARCHIES || strlen(mount) >= CG_MOUNT_MAX)
		return;
	if (v2 ? l->unified >= 0 : controllers == 0)
		return;
	for (int c = 0; c < CG_CONTROLLERS; c++) {
		if ((controllers & CG_BIT(c)) && l->of[c] >= 0)
			return;
	}
	struct cg_hierarchy *h = &l->hierarchies[l->count];
	strcpy(h->mount, mount);
	h->controllers = controllers;
	h->v2 = v2;
	if (v2)
		l->unified = l->count;
	for (int c = 0; c < CG_CONTROLLERS; c++) {
		if (controllers & CG_BIT(c))
			l->of[c] = l->count;
	}
	l->count++;
}

/* proc(5) writes space, tab, newline and backslash in paths as \ooo. */
static void unescape(char *s)
{
	char *o = s;
	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*o++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*o++ = *s++;
		}
	}
	*o = 0;
}

static void layout_reset(struct cg_layout *l)
{
	*l = (struct cg_layout){ .unified = -1 };
	for (int c = 0; c < CG_CONTROLLERS; c++)
		l->of[c] = -1;
}

static void parse_line(char *line, struct cg_layout *l)
{
	/* id parent major:minor root mount options [tags] - type source super-options */
	char *field[6], *save = NULL;
	char *dash = strstr(line, " - ");
	if (!dash || (strncmp(dash + 3, "cgroup ", 7) && strncmp(dash + 3, "cgroup2 ", 8)))
		return;
	*dash = 0;
	int n = 0;
	for (char *t = strtok_r(line, " ", &save); t && n < 6; t = strtok_r(NULL, " ", &save))
		field[n++] = t;
	if (n < 6)
		return;
	bool v2 = dash[9] == '2';
	const char *super = strrchr(dash + 1, ' ');
	unescape(field[4]);
	add_hierarchy(l, field[4], v2 || !super ? 0 : parse_names(super + 1, ","), v2);
}

void cg_parse_mountinfo(const char *text, struct cg_layout *layout)
{
	layout_reset(layout);
	char line[4096];
	while (*text) {
		size_t n = strcspn(text, "\n");
		if (n < sizeof line) {
			memcpy(line, text, n);
			line[n] = 0;
			parse_line(line, layout);
		}
		text += n + (text[n] == '\n');
	}
}

static int read_v2_controllers(struct cg_layout *l, struct rt_error *err)
{
	struct cg_hierarchy *h = &l->hierarchies[l->unified];
	char path[CG_MOUNT_MAX + 32];
	snprintf(path, sizeof path, "%s/cgroup.controllers", h->mount);
	cleanup_free char *list = NULL;
	int r = fs_read_file(AT_FDCWD, path, 4096, &list, NULL, err);
	if (r < 0)
		return r;
	h->controllers = cg_parse_controllers(list);
	/* v2 has these in the core or in BPF, without a controller of their own. */
	if (h->controllers & CG_BIT(CG_CPU))
		h->controllers |= CG_BIT(CG_CPUACCT);
	for (int c = 0; c < CG_CONTROLLERS; c++) {
		if ((h->controllers & CG_BIT(c)) && l->of[c] < 0)
			l->of[c] = l->unified;
	}
	return 0;
}

void cg_keep_v2(struct cg_layout *l, bool v2)
{
	struct cg_hierarchy kept = { .v2 = false };
	if (v2 && l->unified >= 0)
		kept = l->hierarchies[l->unified];
	layout_reset(l);
	if (kept.v2)
		add_hierarchy(l, kept.mount, kept.controllers, true);
}

int cg_detect(struct cg_layout *layout, struct rt_error *err)
{
	/* A machine on pure v2 is told by one statfs; only others pay for reading every mount. */
	struct statfs fs;
	if (statfs(CG_ROOT, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC) {
		layout_reset(layout);
		add_hierarchy(layout, CG_ROOT, 0, true);
		return read_v2_controllers(layout, err);
	}
	cleanup_free char *text = NULL;
	int r = fs_read_file(AT_FDCWD, "/proc/self/mountinfo", 16u << 20, &text, NULL, err);
	if (r < 0)
		return r;
	cg_parse_mountinfo(text, layout);
	if (layout->count == 0)
		return rt_fail(err, EINVAL, "no cgroup hierarchy is mounted");
	return layout->unified >= 0 ? read_v2_controllers(layout, err) : 0;
}

const char *cg_mode(const struct cg_layout *l)
{
	if (l->unified < 0)
		return "v1";
	return l->count == 1 ? "v2" : "hybrid";
}

const struct cg_hierarchy *cg_of(const struct cg_layout *l, enum cg_controller c)
{
	return l->of[c] < 0 ? NULL : &l->hierarchies[l->of[c]];
}

int cg_dir(const struct cg_hierarchy *h, const char *path, char *out, size_t size, struct rt_error *err)
{
	if (path[0] != '/')
		return rt_fail(err, EINVAL, "cgroupsPath %s is not absolute", path);
	for (const char *p = path; *p;) {
		p += strspn(p, "/");
		size_t n = strcspn(p, "/");
		if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return rt_fail(err, EINVAL, "cgroupsPath %s has a part that is \".\" or \"..\"", path);
		p += n;
	}
	int n = snprintf(out, size, "%s%s", h->mount, path);
	if (n < 0 || (size_t)n >= size)
		return rt_fail(err, ENAMETOOLONG, "cgroup %s", path);
	return 0;
}

uint64_t cg_keyed(const char *text, const char *key)
{
	size_t len = strlen(key);
	while (*text) {
		if (!strncmp(text, key, len) && text[len] == ' ')
			return strtoull(text + len + 1, NULL, 10);
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
	return CG_UNKNOWN;
}

char *cg_read_text(const struct cg_hierarchy *h, const char *path, const char *file)
{
	char dir[PATH_MAX], full[PATH_MAX], *text = NULL;
	struct rt_error err = { 0 };
	if (cg_dir(h, path, dir, sizeof dir, &err) < 0 || snprintf(full, sizeof full, "%s/%s", dir, file) >= (int)sizeof full)
		return NULL;
	return fs_read_file(AT_FDCWD, full, 65536, &text, NULL, &err) < 0 ? NULL : text;
}

static uint64_t read_number(const struct cg_hierarchy *h, const char *path, const char *file)
{
	char dir[PATH_MAX], full[PATH_MAX];
	struct rt_error err = { 0 };
	uint64_t v;
	if (cg_dir(h, path, dir, sizeof dir, &err) < 0 || snprintf(full, sizeof full, "%s/%s", dir, file) >= (int)sizeof full)
		return CG_UNKNOWN;
	return fs_read_u64(AT_FDCWD, full, &v, &err) < 0 ? CG_UNKNOWN : v;
}

static uint64_t read_keyed(const struct cg_hierarchy *h, const char *path, const char *file, const char *key)
{
	cleanup_free char *text = cg_read_text(h, path, file);
	return text ? cg_keyed(text, key) : CG_UNKNOWN;
}

/* v1 writes "no limit" as the largest page multiple. */
static uint64_t v1_limit(uint64_t v)
{
	return v >= (uint64_t)INT64_MAX / 4096 * 4096 ? CG_UNKNOWN : v;
}

void cg_read_usage(const struct cg_layout *l, const char *path, struct cg_usage *u)
{
	*u = (struct cg_usage){ CG_UNKNOWN, CG_UNKNOWN, CG_UNKNOWN, CG_UNKNOWN, CG_UNKNOWN, CG_UNKNOWN };
	const struct cg_hierarchy *mem = cg_of(l, CG_MEMORY), *cpu = cg_of(l, CG_CPUACCT), *pids = cg_of(l, CG_PIDS);
	if (mem && mem->v2) {
		u->memory_peak_bytes = read_number(mem, path, "memory.peak");
		u->memory_bytes = read_number(mem, path, "memory.current");
		u->memory_limit_bytes = read_number(mem, path, "memory.max");
		u->oom_kills = read_keyed(mem, path, "memory.events", "oom_kill");
	} else if (mem) {
		u->memory_peak_bytes = read_number(mem, path, "memory.max_usage_in_bytes");
		u->memory_bytes = read_number(mem, path, "memory.usage_in_bytes");
		u->memory_limit_bytes = v1_limit(read_number(mem, path, "memory.limit_in_bytes"));
		u->oom_kills = read_keyed(mem, path, "memory.oom_control", "oom_kill");
	}
	if (cpu && !cpu->v2) {
		uint64_t ns = read_number(cpu, path, "cpuacct.usage");
		u->cpu_time_us = ns == CG_UNKNOWN ? CG_UNKNOWN : ns / 1000;
	} else if (l->unified >= 0) {
		u->cpu_time_us = read_keyed(&l->hierarchies[l->unified], path, "cpu.stat", "usage_usec");
	}
	if (pids)
		u->pids = read_number(pids, path, "pids.current");
}
