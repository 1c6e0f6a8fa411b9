/* How the kernel schedules a container's process: policy, I/O priority, CPUs (sched(7), ioprio_set(2), sched_setaffinity(2)). */
#ifndef BERTH_RUNTIME_SCHEDULING_H
#define BERTH_RUNTIME_SCHEDULING_H

#include <sys/types.h>

#include "runtime/config.h"

/* process.scheduler, process.ioPriority and process.execCPUAffinity of config.json. EINVAL, ENOTSUP. */
must_check int config_parse_scheduling(struct process_spec *p, const struct json *process, struct rt_error *err);

/* Sets policy and I/O priority from outside, where the right to raise them is; the last step before the exec. */
must_check int scheduling_apply(const struct process_spec *p, pid_t pid, struct rt_error *err);

/*
 * Binds a process to the CPUs of a list like "0-3,7"; NULL: to all that its cpuset has, whatever its starter was bound to. For
 * `exec`: process.execCPUAffinity's initial list (p->affinity_initial) before the process is in the container's cgroup, the final one after.
 */
must_check int scheduling_set_affinity(const char *cpus, pid_t pid, struct rt_error *err);

/* linux.memoryPolicy, for this process and all that come of it, once it is in its cgroup. ENOSYS from a kernel without NUMA. */
must_check int scheduling_set_memory_policy(const struct memory_policy_spec *p, struct rt_error *err);

#endif
