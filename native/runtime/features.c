#include <errno.h>
#include <stdio.h>

#include "common/json.h"
#include "common/scope.h"
#include "runtime/caps.h"
#include "runtime/config.h"
#include "runtime/container.h"
#include "runtime/mount-options.h"
#include "runtime/seccomp-rules.h"
#include "runtime/version.h"

static void text(struct json_out *o, const char *key, const char *value)
{
	json_out_key(o, key);
	json_out_str(o, value);
}

static void flag(struct json_out *o, const char *key, bool value)
{
	json_out_key(o, key);
	json_out_bool(o, value);
}

static void names(struct json_out *o, const char *key, const char *const *list, size_t count)
{
	json_out_key(o, key);
	json_out_open(o, '[');
	for (size_t i = 0; i < count; i++)
		json_out_str(o, list[i]);
	json_out_close(o, ']');
}

static void enabled(struct json_out *o, const char *key, bool value)
{
	json_out_key(o, key);
	json_out_open(o, '{');
	flag(o, "enabled", value);
	json_out_close(o, '}');
}

static void add_option(const char *name, void *arg)
{
	json_out_str(arg, name);
}

static void write_capabilities(struct json_out *o)
{
	json_out_key(o, "capabilities");
	json_out_open(o, '[');
	for (int i = 0; cap_name(i); i++) {
		char name[48];
		snprintf(name, sizeof name, "CAP_%s", cap_name(i));
		json_out_str(o, name);
	}
	json_out_close(o, ']');
}

static void write_cgroup(struct json_out *o)
{
	json_out_key(o, "cgroup");
	json_out_open(o, '{');
	flag(o, "v1", true);
	flag(o, "v2", true);
	flag(o, "systemd", false);
	flag(o, "systemdUser", false);
	flag(o, "rdma", true);
	json_out_close(o, '}');
}

static void write_seccomp(struct json_out *o)
{
	static const struct { const char *key; enum seccomp_kind kind; } lists[] = {
		{ "actions", SECCOMP_ACTIONS }, { "operators", SECCOMP_OPERATORS }, { "archs", SECCOMP_ARCHITECTURES },
		{ "knownFlags", SECCOMP_FLAGS }, { "supportedFlags", SECCOMP_FLAGS },
	};
	json_out_key(o, "seccomp");
	json_out_open(o, '{');
	flag(o, "enabled", true);
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		json_out_key(o, lists[i].key);
		json_out_open(o, '[');
		for (size_t k = 0; seccomp_name(lists[i].kind, k); k++)
			json_out_str(o, seccomp_name(lists[i].kind, k));
		json_out_close(o, ']');
	}
	json_out_close(o, '}');
}

static void write_linux(struct json_out *o)
{
	json_out_key(o, "linux");
	json_out_open(o, '{');
	names(o, "namespaces", ns_names, NS_KINDS);
	write_capabilities(o);
	write_cgroup(o);
	write_seccomp(o);
	enabled(o, "apparmor", true);
	enabled(o, "selinux", false);
	enabled(o, "intelRdt", false);
	json_out_key(o, "mountExtensions");
	json_out_open(o, '{');
	enabled(o, "idmap", true);
	json_out_close(o, '}');
	json_out_close(o, '}');
}

int runtime_features(const struct container_options *options, struct rt_error *err)
{
	struct json_out o = { 0 };
	(void)options;
	json_out_open(&o, '{');
	text(&o, "ociVersionMin", OCI_VERSION_MIN);
	text(&o, "ociVersionMax", OCI_VERSION);
	names(&o, "hooks", hook_stage_names, HOOK_STAGES);
	json_out_key(&o, "mountOptions");
	json_out_open(&o, '[');
	mount_options_each(add_option, &o);
	json_out_close(&o, ']');
	write_linux(&o);
	json_out_key(&o, "annotations");
	json_out_open(&o, '{');
	text(&o, "berth.runtime.version", BERTH_RUNTIME_VERSION);
	text(&o, "berth.runtime.commit", runtime_commit);
	json_out_close(&o, '}');
	names(&o, "potentiallyUnsafeConfigAnnotations", (const char *const[]){ KEEP_GROUPS_ANNOTATION }, 1);
	json_out_close(&o, '}');
	cleanup_free char *all = json_out_finish(&o);
	if (!all)
		return rt_fail(err, ENOMEM, "features");
	return printf("%s\n", all) < 0 || fflush(stdout) != 0 ? rt_fail_errno(err, "write the features") : 0;
}
