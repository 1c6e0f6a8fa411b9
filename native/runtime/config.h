/*
 * An OCI bundle's config.json (runtime-spec 1.2), parsed into what this runtime acts on.
 *
 * Parsing refuses every known field whose effect this runtime cannot give (LSM labels, resctrl, ...): a
 * container is never weaker than its config asks. Unknown fields are ignored, as the specification demands.
 * Strings and arrays live as long as the config.
 */
#ifndef BERTH_RUNTIME_CONFIG_H
#define BERTH_RUNTIME_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/json.h"
#include "runtime/resources.h"

/* at[count] is NULL, so `at` serves as an argv. */
struct strings {
	const char **at;
	size_t count;
};

enum ns_kind { NS_USER, NS_PID, NS_NET, NS_MOUNT, NS_IPC, NS_UTS, NS_CGROUP, NS_TIME, NS_KINDS };

struct namespaces {
	unsigned create;             /* 1 << ns_kind: made for this container */
	const char *path[NS_KINDS];  /* joined instead; NULL: created, or the runtime's own */
	bool entered;                /* an ordinary user's runtime is in the user namespace already; see rootless.h */
	bool has_offsets;            /* of the new time namespace's clocks */
	int64_t monotonic_s, boottime_s;
	uint32_t monotonic_ns, boottime_ns;
};

struct id_map {
	uint32_t inside, outside, count;
};

struct id_maps {
	struct id_map *at;
	size_t count;
};

struct mount_spec {
	const char *destination; /* absolute in the container; a relative one of the config counts from its root */
	const char *type;        /* NULL for a bind mount without a type */
	const char *source;      /* of a bind mount: absolute, or relative to the bundle */
	struct strings options;
	struct id_maps uid_maps, gid_maps; /* of this mount; empty: none given */
};

struct device_spec {
	const char *path;
	char type; /* 'c', 'b' or 'p' */
	uint32_t major, minor;
	mode_t mode;
	uint32_t uid, gid;
};

struct rlimit_spec {
	int resource;
	struct rlimit limit;
};

/* process.scheduler: what sched_setattr(2) takes. */
struct scheduler_spec {
	bool given;
	int policy, nice;
	unsigned priority;
	uint64_t flags, runtime_ns, deadline_ns, period_ns;
};

/* linux.memoryPolicy: what set_mempolicy(2) takes. */
struct memory_policy_spec {
	bool given;
	int mode; /* MPOL_*, flags included */
	const char *nodes; /* a list like 0-3,7, or NULL */
};

enum cap_set { CAPSET_BOUNDING, CAPSET_EFFECTIVE, CAPSET_PERMITTED, CAPSET_INHERITABLE, CAPSET_AMBIENT, CAPSETS };

/* Without args: the config has no process, which `create` can do without and `start` cannot (runtime-spec "Process"). */
struct process_spec {
	struct strings args, env;
	const char *cwd;
	uint32_t uid, gid;
	uint32_t *groups;
	size_t group_count;
	mode_t umask;
	bool keep_groups; /* the user's own cannot be dropped: the map of an ordinary user's own group alone bars setgroups(2); or are to be kept */
	bool terminal, no_new_privileges;
	bool console_bare; /* the terminal ends lines by \n alone: what shows them adds its own \r */
	unsigned console_width, console_height;
	bool has_capabilities;
	uint64_t caps[CAPSETS]; /* bit per capability number */
	struct rlimit_spec *rlimits;
	size_t rlimit_count;
	bool has_oom_score_adj;
	int oom_score_adj;
	const char *apparmor; /* profile; NULL: whatever the runtime is confined by */
	struct scheduler_spec scheduler;
	int io_priority; /* as ioprio_set(2) has it; -1: not given */
	const char *affinity_initial, *affinity_final; /* execCPUAffinity: lists of CPUs, or NULL */
};

struct hook_spec {
	const char *path;
	struct strings args, env;
	int64_t timeout_s; /* 0: none */
};

/* Their names in config.json. */
extern const char *const hook_stage_names[];
extern const char *const ns_names[NS_KINDS];

enum hook_stage { HOOK_PRESTART, HOOK_CREATE_RUNTIME, HOOK_CREATE_CONTAINER, HOOK_START_CONTAINER, HOOK_POSTSTART, HOOK_POSTSTOP, HOOK_STAGES };

struct hook_list {
	struct hook_spec *at;
	size_t count;
};

struct sysctl_spec {
	const char *key, *value;
};

/* Gives the program more than the rest of the config does: an engine lets nobody but its operator set it. */
#define KEEP_GROUPS_ANNOTATION "run.oci.keep_original_groups"

struct config {
	struct json_doc *doc;
	char *text; /* what was read, kept for the container's record */
	size_t text_len;
	const char *oci_version;
	const char *rootfs; /* absolute, or relative to the bundle */
	bool readonly_rootfs;
	const char *hostname, *domainname;
	struct process_spec process;
	struct mount_spec *mounts;
	size_t mount_count;
	struct namespaces ns;
	struct id_maps uid_maps, gid_maps;
	struct device_spec *devices;
	size_t device_count;
	struct sysctl_spec *sysctls;
	size_t sysctl_count;
	const char *cgroups_path; /* NULL: none asked for */
	struct resources resources;
	struct memory_policy_spec memory_policy;
	struct strings masked_paths, readonly_paths;
	int64_t personality; /* PER_* of personality(2); -1: none asked for */
	unsigned long rootfs_propagation; /* MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE */
	const struct json *seccomp;       /* NULL: none */
	struct hook_list hooks[HOOK_STAGES];
	const struct json *hooks_json; /* the same, as it was written */
	const struct json *annotations;
};

/* Reads and checks the file `name`, config.json as a rule, in the bundle directory. */
must_check int config_load(int bundle_fd, const char *name, struct config *out, struct rt_error *err);
/* The same in two steps: the text alone, then what it says. */
must_check int config_read(int bundle_fd, const char *name, struct config *out, struct rt_error *err);
must_check int config_parse(struct config *c, struct rt_error *err);
void config_free(struct config *c);

/* Appends a copy of NAME=value to the process's environment; false without memory. */
must_check bool config_add_env(struct config *c, const char *text);

/* Reads `hooks` of root into c, whose doc owns root. */
must_check int config_parse_hooks(struct config *c, const struct json *root, struct rt_error *err);

/* Parts, in files of their own. */
must_check int config_parse_process(struct config *c, const struct json *process, struct rt_error *err);
must_check int config_parse_linux(struct config *c, const struct json *linux_, struct rt_error *err);
must_check int config_parse_memory_policy(struct config *c, const struct json *linux_, struct rt_error *err);
must_check int config_parse_resources(struct config *c, const struct json *resources, struct rt_error *err);
must_check int config_parse_io(struct config *c, const struct json *resources, struct rt_error *err);

/* Typed access with refusals that name the field. An absent member leaves *out as it is. */
must_check int config_string(const struct json *obj, const char *key, const char **out, struct rt_error *err);
must_check int config_bool(const struct json *obj, const char *key, bool *out, struct rt_error *err);
must_check int config_int(const struct json *obj, const char *key, int64_t min, int64_t max, int64_t *out, struct rt_error *err);
must_check int config_id(const struct json *obj, const char *key, uint32_t *out, struct rt_error *err);
must_check int config_strings(struct config *c, const struct json *obj, const char *key, struct strings *out, struct rt_error *err);
/* An array of containerID, hostID and size. */
must_check int config_maps(struct config *c, const struct json *obj, const char *key, struct id_maps *out, struct rt_error *err);
/* `key` of obj when it is an array (object); NULL when absent. */
must_check int config_list(const struct json *obj, const char *key, const struct json **out, struct rt_error *err);
must_check int config_object(const struct json *obj, const char *key, const struct json **out, struct rt_error *err);
/* count zeroed items; never 0 bytes. */
void *config_alloc(struct config *c, size_t count, size_t size);

/* Whether the container is in a user namespace that is not the host's. */
static inline bool ns_in_user(const struct config *c)
{
	return c->ns.create & (1u << NS_USER) || c->ns.path[NS_USER] || c->ns.entered;
}

static inline bool ns_has(const struct config *c, enum ns_kind k)
{
	return c->ns.create & (1u << k);
}

#endif
