#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/stat.h>

#include "runtime/config.h"
#include "runtime/lsm.h"

const char *const ns_names[NS_KINDS] = {
	[NS_USER] = "user", [NS_PID] = "pid", [NS_NET] = "network", [NS_MOUNT] = "mount", [NS_IPC] = "ipc", [NS_UTS] = "uts", [NS_CGROUP] = "cgroup", [NS_TIME] = "time",
};

static int parse_namespaces(struct config *c, const struct json *linux_, struct rt_error *err)
{
	const struct json *list;
	unsigned seen = 0;
	int r = config_list(linux_, "namespaces", &list, err);
	if (r < 0)
		return r;
	json_each(n, list) {
		const char *type = "", *path = NULL;
		if ((r = config_string(n, "type", &type, err)) < 0 || (r = config_string(n, "path", &path, err)) < 0)
			return r;
		int k = 0;
		while (k < NS_KINDS && strcmp(ns_names[k], type))
			k++;
		if (k == NS_KINDS)
			return rt_fail(err, ENOTSUP, "config.json: namespace %s is not supported", type);
		if (seen & (1u << k))
			return rt_fail(err, EINVAL, "config.json: namespace %s is given twice", type);
		seen |= 1u << k;
		if (path && *path)
			c->ns.path[k] = path;
		else
			c->ns.create |= 1u << k;
	}
	return 0;
}

int config_maps(struct config *c, const struct json *obj, const char *key, struct id_maps *out, struct rt_error *err)
{
	const struct json *list;
	int r = config_list(obj, key, &list, err);
	if (r < 0)
		return r;
	out->at = config_alloc(c, list ? list->count : 0, sizeof *out->at);
	if (!out->at)
		return rt_fail(err, ENOMEM, "config.json: %s", key);
	json_each(n, list) {
		uint64_t inside, outside, count;
		if (!json_u64(json_get(n, "containerID"), &inside) || !json_u64(json_get(n, "hostID"), &outside) || !json_u64(json_get(n, "size"), &count))
			return rt_fail(err, EINVAL, "config.json: %s needs containerID, hostID and size", key);
		/* Each bound on its own first: sums of hostile numbers must not wrap. */
		if (inside >= UINT32_MAX || outside >= UINT32_MAX || count == 0 || count > UINT32_MAX || inside + count > UINT32_MAX || outside + count > UINT32_MAX)
			return rt_fail(err, EINVAL, "config.json: %s is out of range", key);
		out->at[out->count++] = (struct id_map){ (uint32_t)inside, (uint32_t)outside, (uint32_t)count };
	}
	return 0;
}

/* "/dev/x/" names what "/dev/x" does, as mknod(1) has it. */
static int trim_slashes(struct config *c, const char **path, struct rt_error *err)
{
	size_t n = strlen(*path);
	while (n > 0 && (*path)[n - 1] == '/')
		n--;
	if (n == 0)
		return rt_fail(err, EINVAL, "config.json: linux.devices.path %s names no file", *path);
	if (!(*path)[n])
		return 0;
	char *out = config_alloc(c, n + 1, 1);
	if (!out)
		return rt_fail(err, ENOMEM, "config.json: devices");
	memcpy(out, *path, n);
	*path = out;
	return 0;
}

static int parse_device(struct config *c, const struct json *n, struct device_spec *d, struct rt_error *err)
{
	const char *type = "";
	int64_t major = 0, minor = 0, mode = 0666;
	int r;
	if ((r = config_string(n, "path", &d->path, err)) < 0 || (r = config_string(n, "type", &type, err)) < 0 ||
	    (r = config_int(n, "major", 0, 0xfff, &major, err)) < 0 || (r = config_int(n, "minor", 0, 0xfffff, &minor, err)) < 0 ||
	    (r = config_int(n, "fileMode", 0, 0177777, &mode, err)) < 0 || (r = config_id(n, "uid", &d->uid, err)) < 0 ||
	    (r = config_id(n, "gid", &d->gid, err)) < 0)
		return r;
	if (!d->path || d->path[0] != '/')
		return rt_fail(err, EINVAL, "config.json: linux.devices.path must be absolute");
	if ((r = trim_slashes(c, &d->path, err)) < 0)
		return r;
	if (strlen(type) != 1 || !strchr("cubp", type[0]))
		return rt_fail(err, EINVAL, "config.json: device %s has type \"%s\"", d->path, type);
	d->type = type[0] == 'u' ? 'c' : type[0];
	d->major = (uint32_t)major;
	d->minor = (uint32_t)minor;
	d->mode = (mode_t)mode & 07777;
	return 0;
}

static int parse_devices(struct config *c, const struct json *linux_, struct rt_error *err)
{
	const struct json *list;
	int r = config_list(linux_, "devices", &list, err);
	if (r < 0)
		return r;
	c->devices = config_alloc(c, list ? list->count : 0, sizeof *c->devices);
	if (!c->devices)
		return rt_fail(err, ENOMEM, "config.json: devices");
	json_each(n, list) {
		if ((r = parse_device(c, n, &c->devices[c->device_count++], err)) < 0)
			return r;
	}
	return 0;
}

/* Only what a namespace of the container owns: anything else would change the host. */
static int check_sysctl(const struct config *c, const char *key, struct rt_error *err)
{
	static const char *const ipc[] = { "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced" };
	for (size_t i = 0; i < sizeof ipc / sizeof *ipc; i++) {
		if (!strcmp(key, ipc[i]) && ns_has(c, NS_IPC))
			return 0;
	}
	if (!strncmp(key, "fs.mqueue.", 10) && ns_has(c, NS_IPC))
		return 0;
	if (!strncmp(key, "net.", 4) && ns_has(c, NS_NET))
		return 0;
	if (!strcmp(key, "kernel.domainname") && ns_has(c, NS_UTS))
		return 0;
	return rt_fail(err, EINVAL, "config.json: sysctl %s is not in a namespace that the container creates", key);
}

static int parse_sysctls(struct config *c, const struct json *linux_, struct rt_error *err)
{
	const struct json *map;
	int r = config_object(linux_, "sysctl", &map, err);
	if (r < 0)
		return r;
	c->sysctls = config_alloc(c, map ? map->count : 0, sizeof *c->sysctls);
	if (!c->sysctls)
		return rt_fail(err, ENOMEM, "config.json: sysctl");
	json_each(n, map) {
		if (n->type != JSON_STRING)
			return rt_fail(err, EINVAL, "config.json: sysctl %s must be a string", n->key);
		if (strchr(n->key, '/') || strstr(n->key, ".."))
			return rt_fail(err, EINVAL, "config.json: sysctl %s is not a dotted name", n->key);
		if ((r = check_sysctl(c, n->key, err)) < 0)
			return r;
		c->sysctls[c->sysctl_count++] = (struct sysctl_spec){ n->key, n->string };
	}
	return 0;
}

static int parse_propagation(struct config *c, const struct json *linux_, struct rt_error *err)
{
	static const struct { const char *name; unsigned long flag; } kinds[] = {
		{ "private", MS_PRIVATE }, { "rprivate", MS_PRIVATE },        { "slave", MS_SLAVE },        { "rslave", MS_SLAVE },
		{ "shared", MS_SHARED },   { "rshared", MS_SHARED },          { "unbindable", MS_UNBINDABLE }, { "runbindable", MS_UNBINDABLE },
	};
	const char *name = "";
	int r = config_string(linux_, "rootfsPropagation", &name, err);
	if (r < 0 || !*name)
		return r;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (!strcmp(kinds[i].name, name)) {
			c->rootfs_propagation = kinds[i].flag;
			return 0;
		}
	}
	return rt_fail(err, EINVAL, "config.json: unknown rootfsPropagation %s", name);
}

static int parse_offset(const struct json *offsets, const char *clock, int64_t *s, uint32_t *ns, struct rt_error *err)
{
	const struct json *n;
	int64_t nanos = 0;
	int r;
	if ((r = config_object(offsets, clock, &n, err)) < 0 || (r = config_int(n, "secs", INT32_MIN, INT32_MAX, s, err)) < 0 ||
	    (r = config_int(n, "nanosecs", 0, 999999999, &nanos, err)) < 0)
		return r;
	*ns = (uint32_t)nanos;
	return 0;
}

static int parse_offsets(struct config *c, const struct json *linux_, struct rt_error *err)
{
	const struct json *offsets;
	int r;
	if ((r = config_object(linux_, "timeOffsets", &offsets, err)) < 0 || !offsets || !offsets->count)
		return r;
	json_each(n, offsets) {
		if (strcmp(n->key, "monotonic") && strcmp(n->key, "boottime"))
			return rt_fail(err, EINVAL, "config.json: timeOffsets are for monotonic and boottime, not %s", n->key);
	}
	if (!ns_has(c, NS_TIME))
		return rt_fail(err, EINVAL, "config.json: timeOffsets need a new time namespace");
	c->ns.has_offsets = true;
	r = parse_offset(offsets, "monotonic", &c->ns.monotonic_s, &c->ns.monotonic_ns, err);
	return r < 0 ? r : parse_offset(offsets, "boottime", &c->ns.boottime_s, &c->ns.boottime_ns, err);
}

static int parse_personality(struct config *c, const struct json *linux_, struct rt_error *err)
{
	const struct json *n, *flags;
	const char *domain = "";
	int r;
	c->personality = -1;
	if ((r = config_object(linux_, "personality", &n, err)) < 0 || !n)
		return r;
	if ((r = config_string(n, "domain", &domain, err)) < 0 || (r = config_list(n, "flags", &flags, err)) < 0)
		return r;
	/* The specification knows no flag as yet. */
	if (flags && flags->count)
		return rt_fail(err, ENOTSUP, "config.json: personality.flags are not supported");
	if (strcmp(domain, "LINUX") && strcmp(domain, "LINUX32"))
		return rt_fail(err, EINVAL, "config.json: personality.domain must be LINUX or LINUX32, not \"%s\"", domain);
	c->personality = strcmp(domain, "LINUX32") ? PER_LINUX : PER_LINUX32;
	return 0;
}

static int refuse_unsupported(const struct json *linux_, struct rt_error *err)
{
	static const char *const fields[] = { "intelRdt", "netDevices" };
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		const struct json *n = json_get(linux_, fields[i]);
		if (n && !(n->type == JSON_STRING && n->count == 0) && !(n->type == JSON_OBJECT && n->count == 0))
			return rt_fail(err, ENOTSUP, "config.json: linux.%s is not supported", fields[i]);
	}
	return 0;
}

static int check_paths(const struct strings *paths, const char *what, struct rt_error *err)
{
	for (size_t i = 0; i < paths->count; i++) {
		if (paths->at[i][0] != '/')
			return rt_fail(err, EINVAL, "config.json: %s must be absolute paths", what);
	}
	return 0;
}

int config_parse_linux(struct config *c, const struct json *l, struct rt_error *err)
{
	const struct json *resources;
	const char *mount_label = "";
	int r;
	if ((r = refuse_unsupported(l, err)) < 0 || (r = config_string(l, "mountLabel", &mount_label, err)) < 0 || (r = lsm_check_mount_label(mount_label, err)) < 0 || (r = parse_namespaces(c, l, err)) < 0 || (r = config_maps(c, l, "uidMappings", &c->uid_maps, err)) < 0 ||
	    (r = config_maps(c, l, "gidMappings", &c->gid_maps, err)) < 0 || (r = parse_devices(c, l, err)) < 0 ||
	    (r = parse_sysctls(c, l, err)) < 0 || (r = config_string(l, "cgroupsPath", &c->cgroups_path, err)) < 0 ||
	    (r = config_object(l, "resources", &resources, err)) < 0 || (r = config_parse_resources(c, resources, err)) < 0 ||
	    (r = config_strings(c, l, "maskedPaths", &c->masked_paths, err)) < 0 || (r = check_paths(&c->masked_paths, "maskedPaths", err)) < 0 ||
	    (r = config_strings(c, l, "readonlyPaths", &c->readonly_paths, err)) < 0 || (r = check_paths(&c->readonly_paths, "readonlyPaths", err)) < 0 ||
	    (r = parse_offsets(c, l, err)) < 0 || (r = parse_personality(c, l, err)) < 0 || (r = parse_propagation(c, l, err)) < 0 || (r = config_parse_memory_policy(c, l, err)) < 0 || (r = config_object(l, "seccomp", &c->seccomp, err)) < 0)
		return r;
	if (c->cgroups_path && !*c->cgroups_path)
		c->cgroups_path = NULL;
	return 0;
}
