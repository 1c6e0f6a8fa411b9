#include "runtime/scheduling.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CPU_LIMIT 8192 /* more than any kernel is built for */
#define NO_POLICY 4 /* the specification has a name for it, Linux never had the policy */
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_CLASS_SHIFT 13

struct name_value {
	const char *name;
	int64_t value;
};

/* sched_setattr(2); C libraries lack it. */
struct kernel_sched_attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};

static const struct name_value policies[] = {
	{ "SCHED_OTHER", 0 }, { "SCHED_FIFO", 1 }, { "SCHED_RR", 2 }, { "SCHED_BATCH", 3 }, { "SCHED_ISO", NO_POLICY }, { "SCHED_IDLE", 5 }, { "SCHED_DEADLINE", 6 }, { NULL, 0 },
};

static const struct name_value policy_flags[] = {
	{ "SCHED_FLAG_RESET_ON_FORK", 0x01 }, { "SCHED_FLAG_RECLAIM", 0x02 },        { "SCHED_FLAG_DL_OVERRUN", 0x04 },     { "SCHED_FLAG_KEEP_POLICY", 0x08 },
	{ "SCHED_FLAG_KEEP_PARAMS", 0x10 },   { "SCHED_FLAG_UTIL_CLAMP_MIN", 0x20 }, { "SCHED_FLAG_UTIL_CLAMP_MAX", 0x40 }, { NULL, 0 },
};

static const struct name_value io_classes[] = { { "IOPRIO_CLASS_RT", 1 }, { "IOPRIO_CLASS_BE", 2 }, { "IOPRIO_CLASS_IDLE", 3 }, { NULL, 0 } };

static const struct name_value memory_modes[] = {
	{ "MPOL_DEFAULT", 0 }, { "MPOL_PREFERRED", 1 }, { "MPOL_BIND", 2 }, { "MPOL_INTERLEAVE", 3 }, { "MPOL_LOCAL", 4 }, { "MPOL_PREFERRED_MANY", 5 }, { "MPOL_WEIGHTED_INTERLEAVE", 6 }, { NULL, 0 },
};

static const struct name_value memory_flags[] = { { "MPOL_F_NUMA_BALANCING", 1 << 13 }, { "MPOL_F_RELATIVE_NODES", 1 << 14 }, { "MPOL_F_STATIC_NODES", 1 << 15 }, { NULL, 0 } };

static int lookup(const struct name_value *table, const char *name, const char *field, int64_t *out, struct rt_error *err)
{
	for (; table->name; table++) {
		if (!strcmp(table->name, name)) {
			*out = table->value;
			return 0;
		}
	}
	return rt_fail(err, EINVAL, "config.json: %s \"%s\" is unknown", field, name);
}

static int parse_scheduler(struct scheduler_spec *s, const struct json *n, struct rt_error *err)
{
	const char *policy = "";
	const struct json *flags;
	int64_t nice = 0, priority = 0, runtime = 0, deadline = 0, period = 0, value = 0;
	int r;
	if ((r = config_string(n, "policy", &policy, err)) < 0 || (r = lookup(policies, policy, "process.scheduler.policy", &value, err)) < 0 ||
	    (r = config_int(n, "nice", -20, 19, &nice, err)) < 0 || (r = config_int(n, "priority", 0, 99, &priority, err)) < 0 ||
	    (r = config_int(n, "runtime", 0, INT64_MAX, &runtime, err)) < 0 || (r = config_int(n, "deadline", 0, INT64_MAX, &deadline, err)) < 0 ||
	    (r = config_int(n, "period", 0, INT64_MAX, &period, err)) < 0 || (r = config_list(n, "flags", &flags, err)) < 0)
		return r;
	*s = (struct scheduler_spec){
		.given = true, .policy = (int)value, .nice = (int)nice, .priority = (unsigned)priority, .runtime_ns = (uint64_t)runtime,
		.deadline_ns = (uint64_t)deadline, .period_ns = (uint64_t)period,
	};
	json_each(flag, flags) {
		if ((r = lookup(policy_flags, json_str(flag, ""), "process.scheduler.flags", &value, err)) < 0)
			return r;
		s->flags |= (uint64_t)value;
	}
	if (s->policy == NO_POLICY)
		return rt_fail(err, ENOTSUP, "config.json: process.scheduler.policy %s is not supported: Linux has none", policy);
	bool realtime = s->policy == SCHED_FIFO || s->policy == SCHED_RR;
	if (realtime != (priority > 0))
		return rt_fail(err, EINVAL, "config.json: scheduler.priority is 1 to 99 for SCHED_FIFO and SCHED_RR, and 0 for %s", policy);
	if (s->policy != 6 && (runtime || deadline || period))
		return rt_fail(err, EINVAL, "config.json: scheduler.runtime, deadline and period are for SCHED_DEADLINE");
	return 0;
}

static int parse_io_priority(struct process_spec *p, const struct json *n, struct rt_error *err)
{
	const char *name = "";
	int64_t class = 0, level = 0;
	int r;
	if ((r = config_string(n, "class", &name, err)) < 0 || (r = lookup(io_classes, name, "process.ioPriority.class", &class, err)) < 0 ||
	    (r = config_int(n, "priority", 0, 7, &level, err)) < 0)
		return r;
	p->io_priority = (int)(class << IOPRIO_CLASS_SHIFT | level);
	return 0;
}

/* Reads "0-3,7" into a set; false when it is no such list, or empty. */
static bool parse_cpus(const char *text, unsigned char set[CPU_LIMIT / 8])
{
	memset(set, 0, CPU_LIMIT / 8);
	for (const char *p = text;; p++) {
		unsigned first, last;
		int used = 0;
		if (sscanf(p, "%5u%n", &first, &used) != 1 || *p < '0' || *p > '9')
			return false;
		p += used;
		last = first;
		if (*p == '-') {
			if (p[1] < '0' || p[1] > '9' || sscanf(p + 1, "%5u%n", &last, &used) != 1)
				return false;
			p += used + 1;
		}
		if (last < first || last >= CPU_LIMIT)
			return false;
		for (unsigned cpu = first; cpu <= last; cpu++)
			set[cpu / 8] |= (unsigned char)(1u << cpu % 8);
		if (*p == 0)
			return true;
		if (*p != ',')
			return false;
	}
}

static int parse_affinity(const struct json *n, const char *key, const char **out, struct rt_error *err)
{
	unsigned char set[CPU_LIMIT / 8];
	int r = config_string(n, key, out, err);
	if (r < 0)
		return r;
	if (*out && !**out)
		*out = NULL;
	if (*out && !parse_cpus(*out, set))
		return rt_fail(err, EINVAL, "config.json: execCPUAffinity.%s must be a list like 0-3,7, not \"%s\"", key, *out);
	return 0;
}

int config_parse_scheduling(struct process_spec *p, const struct json *process, struct rt_error *err)
{
	const struct json *scheduler, *io, *affinity;
	int r;
	p->io_priority = -1;
	if ((r = config_object(process, "scheduler", &scheduler, err)) < 0 || (r = config_object(process, "ioPriority", &io, err)) < 0 ||
	    (r = config_object(process, "execCPUAffinity", &affinity, err)) < 0 || (scheduler && (r = parse_scheduler(&p->scheduler, scheduler, err)) < 0) ||
	    (io && (r = parse_io_priority(p, io, err)) < 0) || (r = parse_affinity(affinity, "initial", &p->affinity_initial, err)) < 0)
		return r;
	return parse_affinity(affinity, "final", &p->affinity_final, err);
}

int scheduling_apply(const struct process_spec *p, pid_t pid, struct rt_error *err)
{
	const struct scheduler_spec *s = &p->scheduler;
	if (s->given) {
		struct kernel_sched_attr attr = {
			.size = sizeof attr, .policy = (uint32_t)s->policy, .flags = s->flags, .nice = s->nice, .priority = s->priority,
			.runtime = s->runtime_ns, .deadline = s->deadline_ns, .period = s->period_ns,
		};
		if (syscall(SYS_sched_setattr, pid, &attr, 0) < 0)
			return rt_fail(err, errno, errno == EINVAL ? "the kernel does not take these values of process.scheduler" : "set the scheduler");
	}
	if (p->io_priority >= 0 && syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, p->io_priority) < 0)
		return rt_fail_errno(err, "set ioPriority");
	return 0;
}

int scheduling_set_affinity(const char *cpus, pid_t pid, struct rt_error *err)
{
	unsigned char set[CPU_LIMIT / 8];
	if (!cpus) {
		/* Those that the cpuset has; no error of the kernel's would tell of less than that. */
		memset(set, 0xff, sizeof set);
		(void)!syscall(SYS_sched_setaffinity, pid, sizeof set, set);
		return 0;
	}
	if (!parse_cpus(cpus, set))
		return rt_fail(err, EINVAL, "%s is no list of CPUs", cpus);
	if (syscall(SYS_sched_setaffinity, pid, sizeof set, set) < 0)
		return rt_fail_errno(err, "bind the process to CPUs %s", cpus);
	return 0;
}

int config_parse_memory_policy(struct config *c, const struct json *linux_, struct rt_error *err)
{
	unsigned char set[CPU_LIMIT / 8];
	struct memory_policy_spec *p = &c->memory_policy;
	const struct json *n, *flags;
	const char *mode = "";
	int64_t value = 0, bits = 0;
	int r = config_object(linux_, "memoryPolicy", &n, err);
	if (r < 0 || !n)
		return r;
	if ((r = config_string(n, "mode", &mode, err)) < 0 || (r = lookup(memory_modes, mode, "linux.memoryPolicy: invalid memory policy: mode", &value, err)) < 0 ||
	    (r = config_string(n, "nodes", &p->nodes, err)) < 0 || (r = config_list(n, "flags", &flags, err)) < 0)
		return r;
	json_each(flag, flags) {
		if ((r = lookup(memory_flags, json_str(flag, ""), "linux.memoryPolicy: invalid memory policy flag", &bits, err)) < 0)
			return r;
		value |= bits;
	}
	if (p->nodes && !*p->nodes)
		p->nodes = NULL;
	if (p->nodes && !parse_cpus(p->nodes, set))
		return rt_fail(err, EINVAL, "config.json: linux.memoryPolicy.nodes must be a list like 0-3,7, not \"%s\"", p->nodes);
	p->given = true;
	p->mode = (int)value;
	return 0;
}

int scheduling_set_memory_policy(const struct memory_policy_spec *p, struct rt_error *err)
{
	union {
		unsigned char bytes[CPU_LIMIT / 8];
		unsigned long words;
	} set;
	if (!p->given)
		return 0;
	if (p->nodes && !parse_cpus(p->nodes, set.bytes))
		return rt_fail(err, EINVAL, "%s is no list of memory nodes", p->nodes);
	if (syscall(SYS_set_mempolicy, p->mode, p->nodes ? &set.words : NULL, p->nodes ? CPU_LIMIT : 0) < 0)
		return rt_fail(err, errno, errno == EINVAL ? "this machine does not take the mode, flags and nodes of linux.memoryPolicy together" : "set linux.memoryPolicy");
	return 0;
}
