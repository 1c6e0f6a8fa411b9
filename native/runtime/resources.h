/*
 * linux.resources of config.json (runtime-spec "Linux Control Groups"): what a container may use.
 * Strings and arrays live as long as the document they were parsed from.
 */
#ifndef BERTH_RUNTIME_RESOURCES_H
#define BERTH_RUNTIME_RESOURCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/json.h"

/* A limit that is not asked for. -1 means "no limit", as in the specification. */
#define LIMIT_UNSET INT64_MIN

struct device_rule {
	bool allow;
	char type;            /* 'a', 'b' or 'c' */
	int64_t major, minor; /* -1: any */
	const char *access;   /* of "rwm" */
};

/* A share of one block device, 10 to 1000. */
struct block_weight {
	uint32_t major, minor;
	int64_t weight, leaf_weight; /* or LIMIT_UNSET */
};

enum throttle_kind { THROTTLE_READ_BPS, THROTTLE_WRITE_BPS, THROTTLE_READ_IOPS, THROTTLE_WRITE_IOPS, THROTTLE_KINDS };

struct block_throttle {
	enum throttle_kind kind;
	uint32_t major, minor;
	uint64_t rate; /* bytes or operations per second; 0: no limit */
};

struct huge_page_limit {
	const char *page_size; /* as the kernel writes it: "2MB" */
	uint64_t limit;        /* bytes */
};

struct interface_priority {
	const char *name;
	uint32_t priority;
};

struct rdma_limit {
	const char *device;
	int64_t handles, objects; /* or LIMIT_UNSET */
};

struct resources {
	int64_t memory_limit, memory_swap, memory_reservation; /* bytes; swap counts memory and swap together */
	int64_t memory_kernel_tcp;                             /* bytes */
	int64_t memory_swappiness;                             /* 0..100 */
	int64_t memory_oom_kill_disable;                       /* 0 or 1 */
	bool memory_check_before_update;                       /* an update below what is in use is refused */
	int64_t cpu_shares, cpu_quota, cpu_period, cpu_burst, cpu_idle; /* microseconds where they are times */
	int64_t cpu_rt_runtime, cpu_rt_period;                          /* microseconds */
	const char *cpuset_cpus, *cpuset_mems;
	int64_t pids_limit;
	int64_t block_weight, block_leaf_weight; /* 10..1000 */
	struct block_weight *block_weights;
	size_t block_weight_count;
	struct block_throttle *block_throttles;
	size_t block_throttle_count;
	struct huge_page_limit *huge_pages;
	size_t huge_page_count;
	int64_t network_class;
	struct interface_priority *network_priorities;
	size_t network_priority_count;
	struct rdma_limit *rdma;
	size_t rdma_count;
	struct device_rule *devices;
	size_t device_count;
	const struct json *unified; /* v2 file name -> text */
};

#endif
