/* config.json as a whole, down to what is done with it before anything is made: mount options, the seccomp filter, the plans of limits. */
#include <stdlib.h>
#include <string.h>

#include "common/cgroup.h"
#include "fuzz/fuzz.h"
#include "runtime/config.h"
#include "runtime/limits-plan.h"
#include "runtime/limits.h"
#include "runtime/mount-options.h"
#include "runtime/seccomp.h"

static void check_strings(const struct strings *s)
{
	for (size_t i = 0; s->at && i < s->count; i++)
		expect(s->at[i] != NULL);
	expect(!s->at || s->at[s->count] == NULL);
}

static void check_maps(const struct id_maps *maps)
{
	for (size_t i = 0; i < maps->count; i++) {
		const struct id_map *m = &maps->at[i];
		expect(m->count > 0 && (uint64_t)m->inside + m->count <= UINT32_MAX && (uint64_t)m->outside + m->count <= UINT32_MAX);
	}
}

static void check_process(const struct process_spec *p)
{
	/* A config without one is only ever created. */
	if (p->args.count == 0)
		return;
	expect(p->args.at[0][0] && p->cwd && p->cwd[0] == '/');
	expect(p->uid != UINT32_MAX && p->gid != UINT32_MAX);
	check_strings(&p->args);
	check_strings(&p->env);
	for (size_t i = 0; i < p->group_count; i++)
		expect(p->groups[i] != UINT32_MAX);
	for (size_t i = 0; i < p->rlimit_count; i++)
		expect(p->rlimits[i].limit.rlim_cur <= p->rlimits[i].limit.rlim_max);
	expect(!(p->caps[CAPSET_EFFECTIVE] & ~p->caps[CAPSET_PERMITTED]));
	expect(!(p->caps[CAPSET_AMBIENT] & ~(p->caps[CAPSET_PERMITTED] & p->caps[CAPSET_INHERITABLE])));
}

static void plan(const struct resources *o, bool v2)
{
	struct rt_error err = { 0 };
	cleanup_plan struct limit_plan p = { .dir = "/nonexistent" };
	int r = v2 ? limits_plan_v2(&p, ~0u, o, &err) : limits_plan_v1(&p, ~0u, o, &err);
	expect(r == 0 || err.text[0]);
	for (size_t i = 0; i < p.count; i++) {
		const struct limit_write *w = &p.at[i];
		const char *file = w->name[0] ? w->name : w->file;
		expect(file && *file && !strchr(file, '/') && strcmp(file, "..") && w->what);
		expect(strnlen(w->made, sizeof w->made) < sizeof w->made);
	}
}

static void check(struct config *c)
{
	check_process(&c->process);
	check_maps(&c->uid_maps);
	check_maps(&c->gid_maps);
	check_strings(&c->masked_paths);
	check_strings(&c->readonly_paths);
	expect(c->rootfs && *c->rootfs && ns_has(c, NS_MOUNT));
	for (size_t i = 0; i < c->mount_count; i++) {
		struct rt_error err = { 0 };
		struct mount_options o;
		expect(c->mounts[i].destination[0] == '/');
		expect(mount_options_parse(&c->mounts[i], &o, &err) == 0 || err.text[0]);
	}
	for (size_t i = 0; i < c->sysctl_count; i++)
		expect(!strchr(c->sysctls[i].key, '/'));
	if (c->seccomp) {
		struct rt_error err = { 0 };
		struct seccomp_filter f = { 0 };
		expect(seccomp_compile(c->seccomp, &f, &err) == 0 || err.text[0]);
		seccomp_free(&f);
	}
	limits_controllers(&c->resources);
	plan(&c->resources, false);
	plan(&c->resources, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rt_error err = { 0 };
	struct config c;
	int dir = fuzz_directory();
	fuzz_write(dir, "config.json", data, size);
	if (config_load(dir, "config.json", &c, &err) == 0)
		check(&c);
	else
		expect(err.code && err.text[0]);
	config_free(&c);
	return 0;
}
