/*
 * Resource limits written to the files of cgroup v1 and v2 (the kernel's admin-guide/cgroup-v1 and cgroup-v2).
 *
 * A limit asks for one controller, wherever this machine has it; nothing that is asked for is left out in silence. Values
 * that only v1 knows are converted for v2 as runc and crun convert them: shares 2..262144 onto weight 1..10000, block weight
 * 10..1000 onto 1..10000, "memory and swap" onto swap alone.
 *
 * To change a running container: config_parse_resources (with NULL for no JSON at all) into a config that has only its
 * document, set or change fields of its `resources`, then limits_update.
 */
#ifndef BERTH_RUNTIME_LIMITS_H
#define BERTH_RUNTIME_LIMITS_H

#include "common/cgroup.h"
#include "runtime/resources.h"

/* CG_BITs of the controllers that the limits need. */
unsigned limits_controllers(const struct resources *o);

/* Refuses (ENOTSUP, the field named) what no hierarchy of this machine can keep, before anything is made. */
must_check int limits_check(const struct cg_layout *l, const struct resources *o, struct rt_error *err);

/* Writes the limits that hierarchy `h` keeps into a fresh cgroup. dir is its directory there. */
must_check int limits_apply(const struct cg_layout *l, const struct cg_hierarchy *h, const char *dir, const struct resources *o, struct rt_error *err);

/*
 * Changes the limits of a cgroup in use; what is unset in `o` stays. Everything is checked before the first write, and when the
 * kernel refuses one, those written before get their old values back. EBUSY when memory_check_before_update is set and the
 * limit is below what is in use. Device rules, where given, are added behind those in force on v1 and replace them on v2.
 */
must_check int limits_update(const struct cg_layout *l, const char *cgroups_path, const struct resources *o, struct rt_error *err);

/* What every container may use besides: the specification's "Default Devices", /dev/console and pseudo-terminals. Added when there are rules. */
#define DEFAULT_DEVICE_RULES 9
extern const struct device_rule default_device_rules[DEFAULT_DEVICE_RULES];

/* Bars every device that the rules do not allow, by a BPF program on a v2 cgroup, in place of one that is there. */
must_check int devices_attach_bpf(const struct resources *o, int cgroup_fd, struct rt_error *err);

#endif
