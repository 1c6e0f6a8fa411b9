#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cgroup.h"
#include "common/scope.h"

#define LOOP_MAJOR 7

static void add(uint64_t *sum, uint64_t n)
{
	*sum = *sum == CG_UNKNOWN ? n : *sum + n;
}

/* "8:0 rbytes=1 wbytes=2 rios=3 ..." */
static void add_v2(const char *fields, uint64_t *read_bytes, uint64_t *written_bytes)
{
	const char *r = strstr(fields, " rbytes="), *w = strstr(fields, " wbytes=");
	if (r)
		add(read_bytes, strtoull(r + 8, NULL, 10));
	if (w)
		add(written_bytes, strtoull(w + 8, NULL, 10));
}

/* "8:0 Read 1", "8:0 Write 2", and more words of which these are the whole. */
static void add_v1(const char *fields, uint64_t *read_bytes, uint64_t *written_bytes)
{
	if (!strncmp(fields, " Read ", 6))
		add(read_bytes, strtoull(fields + 6, NULL, 10));
	else if (!strncmp(fields, " Write ", 7))
		add(written_bytes, strtoull(fields + 7, NULL, 10));
}

void cg_parse_io(const char *text, bool v2, uint64_t *read_bytes, uint64_t *written_bytes)
{
	/* A file without a line tells of no device that was used. */
	*read_bytes = *written_bytes = 0;
	for (const char *next; *text; text = next) {
		char line[512];
		size_t n = strcspn(text, "\n");
		next = text + n + (text[n] == '\n');
		if (n >= sizeof line)
			continue;
		memcpy(line, text, n);
		line[n] = 0;
		char *colon, *fields;
		unsigned long major = strtoul(line, &colon, 10);
		if (colon == line || *colon != ':' || !(fields = strchr(colon, ' ')) || major == LOOP_MAJOR)
			continue;
		(v2 ? add_v2 : add_v1)(fields, read_bytes, written_bytes);
	}
}

static void read_cpu(const struct cg_layout *l, const char *path, struct cg_spent *s)
{
	const struct cg_hierarchy *acct = cg_of(l, CG_CPUACCT), *cpu = cg_of(l, CG_CPU);
	const struct cg_hierarchy *times = acct ? acct : l->unified >= 0 ? &l->hierarchies[l->unified] : NULL;
	if (times && times->v2) {
		cleanup_free char *text = cg_read_text(times, path, "cpu.stat");
		s->cpu_user_us = text ? cg_keyed(text, "user_usec") : CG_UNKNOWN;
		s->cpu_system_us = text ? cg_keyed(text, "system_usec") : CG_UNKNOWN;
	} else if (times) {
		cleanup_free char *user = cg_read_text(times, path, "cpuacct.usage_user");
		cleanup_free char *system_time = cg_read_text(times, path, "cpuacct.usage_sys");
		s->cpu_user_us = user ? strtoull(user, NULL, 10) / 1000 : CG_UNKNOWN;
		s->cpu_system_us = system_time ? strtoull(system_time, NULL, 10) / 1000 : CG_UNKNOWN;
	}
	cleanup_free char *text = cpu ? cg_read_text(cpu, path, "cpu.stat") : NULL;
	if (!text)
		return;
	s->cpu_periods = cg_keyed(text, "nr_periods");
	s->cpu_throttled_periods = cg_keyed(text, "nr_throttled");
	s->cpu_throttled_us = cg_keyed(text, cpu->v2 ? "throttled_usec" : "throttled_time");
	if (!cpu->v2 && s->cpu_throttled_us != CG_UNKNOWN)
		s->cpu_throttled_us /= 1000;
}

void cg_read_spent(const struct cg_layout *l, const char *path, struct cg_spent *s)
{
	*s = (struct cg_spent){ CG_UNKNOWN, CG_UNKNOWN, CG_UNKNOWN, CG_UNKNOWN, CG_UNKNOWN, CG_UNKNOWN, CG_UNKNOWN, CG_UNKNOWN };
	const struct cg_hierarchy *io = cg_of(l, CG_BLKIO), *pids = cg_of(l, CG_PIDS);
	read_cpu(l, path, s);
	if (io) {
		cleanup_free char *text = cg_read_text(io, path, io->v2 ? "io.stat" : "blkio.throttle.io_service_bytes_recursive");
		if (text)
			cg_parse_io(text, io->v2, &s->read_bytes, &s->written_bytes);
	}
	cleanup_free char *peak = pids ? cg_read_text(pids, path, "pids.peak") : NULL;
	if (peak)
		s->pids_peak = strtoull(peak, NULL, 10);
}
