#include "runtime/exec-spec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/caps.h"
#include "runtime/log.h"
#include "runtime/lsm.h"
#include "runtime/user.h"

static int from_file(const char *path, struct config *c, struct json_doc **doc, struct rt_error *err)
{
	cleanup_free char *text = NULL;
	size_t len;
	struct config other = { 0 };
	int r = fs_read_file(AT_FDCWD, path, JSON_MAX_BYTES, &text, &len, err);
	if (r < 0 || (r = json_parse(text, len, doc, err)) < 0) {
		rt_prefix(err, "--process");
		return r;
	}
	other.doc = *doc;
	if ((r = config_parse_process(&other, json_root(*doc), err)) < 0) {
		rt_prefix(err, "--process %s", path);
		return r;
	}
	other.process.keep_groups = c->process.keep_groups;
	c->process = other.process;
	return 0;
}

/* Later values replace earlier ones of the same name. */
static int add_env(struct config *c, const struct text_list *extra, struct rt_error *err)
{
	struct strings *env = &c->process.env, all = { .count = env->count };
	all.at = config_alloc(c, env->count + extra->count + 1, sizeof *all.at);
	if (!all.at)
		return rt_fail(err, ENOMEM, "--env");
	if (env->count)
		memcpy(all.at, env->at, env->count * sizeof *all.at);
	for (size_t i = 0; i < extra->count; i++) {
		const char *var = extra->at[i], *eq = strchr(var, '=');
		if (!eq || eq == var)
			return rt_fail(err, EINVAL, "--env \"%s\" is not NAME=VALUE", var);
		size_t n = (size_t)(eq - var) + 1, k = 0;
		while (k < all.count && strncmp(all.at[k], var, n))
			k++;
		all.at[k] = var;
		all.count += k == all.count;
	}
	*env = all;
	return 0;
}

static int add_groups(struct config *c, const struct text_list *extra, struct rt_error *err)
{
	struct process_spec *p = &c->process;
	uint32_t *all = config_alloc(c, p->group_count + extra->count, sizeof *all);
	if (!all)
		return rt_fail(err, ENOMEM, "--additional-gids");
	if (p->group_count)
		memcpy(all, p->groups, p->group_count * sizeof *all);
	for (size_t i = 0; i < extra->count; i++) {
		if (!user_parse_id(extra->at[i], strlen(extra->at[i]), &all[p->group_count + i]))
			return rt_fail(err, EINVAL, "--additional-gids %s is no group id", extra->at[i]);
	}
	p->groups = all;
	p->group_count += extra->count;
	return 0;
}

static void add_caps(struct process_spec *p, const struct text_list *extra)
{
	for (size_t i = 0; i < extra->count; i++) {
		int cap = cap_from_name(extra->at[i]);
		if (cap < 0) {
			log_warning("--cap %.60s is unknown and is not given", extra->at[i]);
			continue;
		}
		uint64_t bit = UINT64_C(1) << cap;
		p->has_capabilities = true;
		p->caps[CAPSET_BOUNDING] |= bit;
		p->caps[CAPSET_EFFECTIVE] |= bit;
		p->caps[CAPSET_PERMITTED] |= bit;
		/* Root keeps it over the exec; anybody else only by the ambient set, which is within the inheritable one. */
		if (p->uid != 0)
			p->caps[CAPSET_INHERITABLE] |= bit;
		p->caps[CAPSET_AMBIENT] |= p->caps[CAPSET_INHERITABLE] & bit;
	}
}

static int set_user(const struct container_options *o, pid_t init, struct config *c, struct rt_error *err)
{
	char path[32];
	cleanup_fd int root = -1;
	if (user_has_names(o->user)) {
		snprintf(path, sizeof path, "/proc/%d/root", init);
		root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (root < 0)
			return rt_fail_errno(err, "open the container's root directory");
	}
	return user_resolve(c, o->user, root, err);
}

static int from_options(const struct container_options *o, pid_t init, struct config *c, struct rt_error *err)
{
	struct process_spec *p = &c->process;
	int r;
	p->args = (struct strings){ .at = o->args.at, .count = o->args.count };
	p->terminal = o->tty;
	p->console_width = p->console_height = 0;
	if (o->cwd)
		p->cwd = o->cwd;
	if (p->cwd[0] != '/')
		return rt_fail(err, EINVAL, "--cwd %s is not an absolute path", p->cwd);
	p->no_new_privileges |= o->no_new_privs;
	if ((o->user && (r = set_user(o, init, c, err)) < 0) || (o->env.count && (r = add_env(c, &o->env, err)) < 0) ||
	    (o->groups.count && (r = add_groups(c, &o->groups, err)) < 0))
		return r;
	add_caps(p, &o->caps);
	return 0;
}

int exec_spec(const struct container_options *o, pid_t init, struct config *c, struct json_doc **doc, struct rt_error *err)
{
	if (o->process_label && *o->process_label)
		return rt_fail(err, ENOTSUP, "--process-label %s: SELinux labels are not supported", o->process_label);
	if (!o->process_file && (!o->args.count || !*o->args.at[0]))
		return rt_fail(err, EINVAL, "exec needs a program, or --process FILE");
	if (o->process_file && o->args.count)
		return rt_fail(err, EINVAL, "exec takes --process FILE or a program, not both");
	int r = o->process_file ? from_file(o->process_file, c, doc, err) : from_options(o, init, c, err);
	c->process.terminal |= o->tty;
	return r == 0 && o->apparmor ? lsm_set_apparmor(&c->process, o->apparmor, err) : r;
}
