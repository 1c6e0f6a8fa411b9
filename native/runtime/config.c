#include "runtime/config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/rootless.h"

static int wrong(struct rt_error *err, const char *key, const char *what)
{
	return rt_fail(err, EINVAL, "config.json: %s must be %s", key, what);
}

int config_string(const struct json *obj, const char *key, const char **out, struct rt_error *err)
{
	const struct json *n = json_get(obj, key);
	if (!n)
		return 0;
	if (n->type != JSON_STRING)
		return wrong(err, key, "a string");
	*out = n->string;
	return 0;
}

int config_bool(const struct json *obj, const char *key, bool *out, struct rt_error *err)
{
	const struct json *n = json_get(obj, key);
	if (!n)
		return 0;
	if (n->type != JSON_BOOL)
		return wrong(err, key, "true or false");
	*out = n->boolean;
	return 0;
}

int config_int(const struct json *obj, const char *key, int64_t min, int64_t max, int64_t *out, struct rt_error *err)
{
	const struct json *n = json_get(obj, key);
	int64_t v;
	if (!n)
		return 0;
	if (!json_i64(n, &v) || v < min || v > max)
		return rt_fail(err, EINVAL, "config.json: %s must be an integer from %lld to %lld", key, (long long)min, (long long)max);
	*out = v;
	return 0;
}

int config_id(const struct json *obj, const char *key, uint32_t *out, struct rt_error *err)
{
	/* The largest id means "none" to the kernel, so it names nobody. */
	int64_t v = *out;
	int r = config_int(obj, key, 0, UINT32_MAX - 1, &v, err);
	if (r == 0)
		*out = (uint32_t)v;
	return r;
}

static int config_typed(const struct json *obj, const char *key, enum json_type type, const struct json **out, struct rt_error *err)
{
	const struct json *n = json_get(obj, key);
	*out = n;
	if (n && n->type != type)
		return wrong(err, key, type == JSON_ARRAY ? "an array" : "an object");
	return 0;
}

int config_list(const struct json *obj, const char *key, const struct json **out, struct rt_error *err)
{
	return config_typed(obj, key, JSON_ARRAY, out, err);
}

int config_object(const struct json *obj, const char *key, const struct json **out, struct rt_error *err)
{
	return config_typed(obj, key, JSON_OBJECT, out, err);
}

void *config_alloc(struct config *c, size_t count, size_t size)
{
	return json_alloc(c->doc, (count ? count : 1) * size);
}

bool config_add_env(struct config *c, const char *text)
{
	struct strings *env = &c->process.env;
	size_t size = strlen(text) + 1;
	const char **all = config_alloc(c, env->count + 2, sizeof *all);
	char *copy = config_alloc(c, size, 1);
	if (!all || !copy)
		return false;
	for (size_t i = 0; i < env->count; i++)
		all[i] = env->at[i];
	all[env->count] = memcpy(copy, text, size);
	all[env->count + 1] = NULL;
	*env = (struct strings){ all, env->count + 1 };
	return true;
}

int config_strings(struct config *c, const struct json *obj, const char *key, struct strings *out, struct rt_error *err)
{
	const struct json *list;
	int r = config_list(obj, key, &list, err);
	if (r < 0)
		return r;
	out->at = config_alloc(c, (list ? list->count : 0) + 1, sizeof *out->at);
	if (!out->at)
		return rt_fail(err, ENOMEM, "config.json: %s", key);
	json_each(it, list) {
		if (it->type != JSON_STRING)
			return wrong(err, key, "an array of strings");
		out->at[out->count++] = it->string;
	}
	return 0;
}

/* A relative destination counts from the root (runtime-spec "Mounts", for older configs). */
static int from_root(struct config *c, const char **path, struct rt_error *err)
{
	size_t len = strlen(*path);
	char *out = config_alloc(c, len + 2, 1);
	if (!out)
		return rt_fail(err, ENOMEM, "config.json: mounts.destination");
	out[0] = '/';
	memcpy(out + 1, *path, len + 1);
	*path = out;
	return 0;
}

static int parse_mount(struct config *c, const struct json *m, struct mount_spec *out, struct rt_error *err)
{
	int r;
	if ((r = config_string(m, "destination", &out->destination, err)) < 0 || (r = config_string(m, "type", &out->type, err)) < 0 ||
	    (r = config_string(m, "source", &out->source, err)) < 0 || (r = config_strings(c, m, "options", &out->options, err)) < 0)
		return r;
	if (!out->destination || !*out->destination)
		return wrong(err, "mounts.destination", "a path");
	if (out->destination[0] != '/' && (r = from_root(c, &out->destination, err)) < 0)
		return r;
	if ((r = config_maps(c, m, "uidMappings", &out->uid_maps, err)) < 0 || (r = config_maps(c, m, "gidMappings", &out->gid_maps, err)) < 0)
		return r;
	if (!out->uid_maps.count != !out->gid_maps.count)
		return rt_fail(err, EINVAL, "config.json: the mount at %s needs both uidMappings and gidMappings, or neither", out->destination);
	return 0;
}

static int parse_mounts(struct config *c, const struct json *root, struct rt_error *err)
{
	const struct json *list;
	int r = config_list(root, "mounts", &list, err);
	if (r < 0)
		return r;
	c->mounts = config_alloc(c, list ? list->count : 0, sizeof *c->mounts);
	if (!c->mounts)
		return rt_fail(err, ENOMEM, "config.json: mounts");
	json_each(m, list) {
		if ((r = parse_mount(c, m, &c->mounts[c->mount_count++], err)) < 0)
			return r;
	}
	return 0;
}

static int parse_hook(struct config *c, const struct json *h, struct hook_spec *out, struct rt_error *err)
{
	int r;
	if ((r = config_string(h, "path", &out->path, err)) < 0 || (r = config_strings(c, h, "args", &out->args, err)) < 0 ||
	    (r = config_strings(c, h, "env", &out->env, err)) < 0 || (r = config_int(h, "timeout", 1, 86400, &out->timeout_s, err)) < 0)
		return r;
	return out->path && out->path[0] == '/' ? 0 : wrong(err, "hooks.path", "an absolute path");
}

const char *const hook_stage_names[HOOK_STAGES] = { "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop" };

int config_parse_hooks(struct config *c, const struct json *root, struct rt_error *err)
{
	const struct json *hooks;
	int r = config_object(root, "hooks", &hooks, err);
	c->hooks_json = hooks;
	for (int s = 0; r == 0 && s < HOOK_STAGES; s++) {
		const struct json *list;
		if ((r = config_list(hooks, hook_stage_names[s], &list, err)) < 0 || !list)
			continue;
		c->hooks[s].at = config_alloc(c, list->count, sizeof *c->hooks[s].at);
		if (!c->hooks[s].at)
			return rt_fail(err, ENOMEM, "config.json: hooks");
		json_each(h, list) {
			if ((r = parse_hook(c, h, &c->hooks[s].at[c->hooks[s].count++], err)) < 0)
				return r;
		}
	}
	return r;
}

/* Any 1.x of the specification: its minor versions only add. */
static int check_version(struct config *c, const struct json *root, struct rt_error *err)
{
	int r = config_string(root, "ociVersion", &c->oci_version, err);
	if (r < 0)
		return r;
	if (!c->oci_version || strncmp(c->oci_version, "1.", 2))
		return rt_fail(err, EINVAL, "config.json: ociVersion %s is not supported", c->oci_version ? c->oci_version : "is missing and");
	return 0;
}

/* As crun and podman's --group-add keep-groups have it: "1" leaves the program the groups of whoever runs the runtime. */
static int asks_for_own_groups(const struct config *c, bool *out, struct rt_error *err)
{
	const char *value = "0";
	int r = config_string(c->annotations, KEEP_GROUPS_ANNOTATION, &value, err);
	*out = !strcmp(value, "1");
	return r == 0 && !*out && strcmp(value, "0") ? rt_fail(err, EINVAL, "config.json: annotation " KEEP_GROUPS_ANNOTATION " is 0 or 1, not \"%s\"", value) : r;
}

static int check_whole(struct config *c, struct rt_error *err)
{
	if (c->resources.memory_swap > 0 && c->resources.memory_limit == LIMIT_UNSET)
		return rt_fail(err, EINVAL, "config.json: memory.swap needs memory.limit");
	bool asked = false;
	int r = asks_for_own_groups(c, &asked, err);
	if (r < 0)
		return r;
	if (asked && c->process.group_count)
		return rt_fail(err, EINVAL, "config.json: additionalGids and the annotation " KEEP_GROUPS_ANNOTATION " exclude each other");
	c->process.keep_groups = asked || rootless_keeps_groups(c);
	if (c->process.keep_groups && c->process.group_count)
		return rt_fail(err, ENOTSUP, "config.json: additionalGids need gidMappings of more than the user's own group");
	if ((c->hostname || c->domainname) && !ns_has(c, NS_UTS) && !c->ns.path[NS_UTS])
		return rt_fail(err, EINVAL, "config.json: hostname needs a uts namespace");
	if (!ns_has(c, NS_MOUNT) && !c->ns.path[NS_MOUNT])
		return rt_fail(err, ENOTSUP, "config.json: a container needs a mount namespace, new or joined by its path");
	bool maps = c->uid_maps.count || c->gid_maps.count;
	if (ns_has(c, NS_USER) && (!c->uid_maps.count || !c->gid_maps.count))
		return rt_fail(err, EINVAL, "config.json: a new user namespace needs uidMappings and gidMappings");
	if (maps && !ns_has(c, NS_USER) && !c->ns.path[NS_USER])
		return rt_fail(err, EINVAL, "config.json: id mappings need a user namespace");
	return 0;
}

int config_read(int bundle_fd, const char *name, struct config *c, struct rt_error *err)
{
	*c = (struct config){ .rootfs_propagation = MS_PRIVATE };
	int r = fs_read_file(bundle_fd, name, JSON_MAX_BYTES, &c->text, &c->text_len, err);
	if (r < 0)
		rt_prefix(err, "bundle");
	return r;
}

int config_load(int bundle_fd, const char *name, struct config *c, struct rt_error *err)
{
	int r = config_read(bundle_fd, name, c, err);
	return r < 0 ? r : config_parse(c, err);
}

int config_parse(struct config *c, struct rt_error *err)
{
	int r = json_parse(c->text, c->text_len, &c->doc, err);
	if (r < 0) {
		rt_prefix(err, "bundle");
		return r;
	}
	const struct json *root = json_root(c->doc);
	const struct json *rootfs, *process, *linux_;
	if ((r = check_version(c, root, err)) < 0 || (r = config_object(root, "root", &rootfs, err)) < 0 ||
	    (r = config_object(root, "process", &process, err)) < 0 || (r = config_object(root, "linux", &linux_, err)) < 0 ||
	    (r = config_object(root, "annotations", &c->annotations, err)) < 0)
		return r;
	if ((r = config_string(rootfs, "path", &c->rootfs, err)) < 0 || (r = config_bool(rootfs, "readonly", &c->readonly_rootfs, err)) < 0 ||
	    (r = config_string(root, "hostname", &c->hostname, err)) < 0 || (r = config_string(root, "domainname", &c->domainname, err)) < 0)
		return r;
	if (!c->rootfs || !*c->rootfs)
		return wrong(err, "root.path", "a path");
	if ((r = parse_mounts(c, root, err)) < 0 || (r = config_parse_process(c, process, err)) < 0 ||
	    (r = config_parse_linux(c, linux_, err)) < 0 || (r = config_parse_hooks(c, root, err)) < 0)
		return r;
	return check_whole(c, err);
}

void config_free(struct config *c)
{
	json_free(c->doc);
	free(c->text);
	c->doc = NULL;
	c->text = NULL;
}
