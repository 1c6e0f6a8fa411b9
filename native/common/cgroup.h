/*
 * Where each cgroup controller lives on this machine, and what a cgroup has used.
 *
 * A controller is on a v1 hierarchy, or on the v2 (unified) one, or nowhere. "Hybrid" is a machine where some are v1 and a
 * unified hierarchy is mounted besides; nothing here treats it as a case of its own.
 */
#ifndef BERTH_COMMON_CGROUP_H
#define BERTH_COMMON_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

enum cg_controller { CG_MEMORY, CG_CPU, CG_CPUACCT, CG_PIDS, CG_CPUSET, CG_DEVICES, CG_FREEZER, CG_BLKIO, CG_HUGETLB, CG_NET_CLS, CG_NET_PRIO, CG_RDMA, CG_CONTROLLERS };

#define CG_BIT(c) (1u << (c))
#define CG_MAX_HIERARCHIES 16
#define CG_MOUNT_MAX 256

/* One mounted hierarchy. */
struct cg_hierarchy {
	char mount[CG_MOUNT_MAX]; /* mount point */
	unsigned controllers;     /* CG_BIT set; on v2 those available in its root */
	bool v2;
};

struct cg_layout {
	struct cg_hierarchy hierarchies[CG_MAX_HIERARCHIES];
	int count;
	int of[CG_CONTROLLERS]; /* index of the hierarchy that holds the controller; -1: none */
	int unified;            /* index of the v2 hierarchy; -1: not mounted */
};

/* Name as in cgroup.controllers and in v1 mount options. */
const char *cg_name(enum cg_controller c);

/* Finds the mounted hierarchies. Fails only when none is mounted or /proc cannot be read. */
must_check int cg_detect(struct cg_layout *layout, struct rt_error *err);

/* The part of cg_detect that reads the text of /proc/self/mountinfo; v2's controllers are left empty. First mount of a hierarchy wins. */
void cg_parse_mountinfo(const char *text, struct cg_layout *layout);

/* Takes all v1 hierarchies out of the layout, and the v2 one too unless `v2`. */
void cg_keep_v2(struct cg_layout *layout, bool v2);

/* CG_BITs of a list of controllers as cgroup.controllers has it. */
unsigned cg_parse_controllers(const char *list);

/* "v1", "v2" or "hybrid": what holds controllers and what is mounted. */
const char *cg_mode(const struct cg_layout *layout);

/* Hierarchy of a controller, or NULL. */
const struct cg_hierarchy *cg_of(const struct cg_layout *layout, enum cg_controller c);

/* Writes MOUNT + cgroups_path ("/berth/x") to out. ENAMETOOLONG, or EINVAL for a path that is not absolute or has "." or ".." parts. */
must_check int cg_dir(const struct cg_hierarchy *h, const char *cgroups_path, char *out, size_t size, struct rt_error *err);

/* What a cgroup has used; a value the kernel does not offer is CG_UNKNOWN. */
#define CG_UNKNOWN UINT64_MAX
struct cg_usage {
	uint64_t memory_peak_bytes;
	uint64_t memory_bytes;
	uint64_t memory_limit_bytes; /* CG_UNKNOWN also when unlimited */
	uint64_t cpu_time_us;
	uint64_t oom_kills;          /* processes the kernel killed for this cgroup's memory */
	uint64_t pids;
};

/* Reads the usage of one cgroup, descendants included. A missing cgroup gives CG_UNKNOWN throughout. */
void cg_read_usage(const struct cg_layout *layout, const char *cgroups_path, struct cg_usage *out);

/* What a cgroup has used in its life, descendants included; CG_UNKNOWN for what the kernel does not offer there. */
struct cg_spent {
	uint64_t cpu_user_us, cpu_system_us;
	uint64_t cpu_periods;           /* of its quota, in which it ran */
	uint64_t cpu_throttled_periods; /* those at whose end it had to wait */
	uint64_t cpu_throttled_us;
	uint64_t read_bytes, written_bytes; /* of block devices; loop devices are left out, since what is beneath them counts */
	uint64_t pids_peak;
};

/* Reads it. A missing cgroup gives CG_UNKNOWN throughout. */
void cg_read_spent(const struct cg_layout *layout, const char *cgroups_path, struct cg_spent *out);

/* Bytes read and written in the text of io.stat (v2) or blkio.throttle.io_service_bytes (v1), summed over devices. */
void cg_parse_io(const char *text, bool v2, uint64_t *read_bytes, uint64_t *written_bytes);

/* Content of one file of a cgroup, to be freed; NULL when there is none. */
char *cg_read_text(const struct cg_hierarchy *h, const char *cgroups_path, const char *file);

/* Value of "key N" in a flat keyed file's text (memory.events, cpu.stat); CG_UNKNOWN when absent. */
uint64_t cg_keyed(const char *text, const char *key);

#endif
