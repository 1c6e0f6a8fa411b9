#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/caps.h"
#include "runtime/config.h"
#include "runtime/log.h"
#include "runtime/lsm.h"
#include "runtime/scheduling.h"

static const struct { const char *name; int resource; } rlimit_names[] = {
	{ "RLIMIT_AS", RLIMIT_AS },           { "RLIMIT_CORE", RLIMIT_CORE },         { "RLIMIT_CPU", RLIMIT_CPU },
	{ "RLIMIT_DATA", RLIMIT_DATA },       { "RLIMIT_FSIZE", RLIMIT_FSIZE },       { "RLIMIT_LOCKS", RLIMIT_LOCKS },
	{ "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK }, { "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE }, { "RLIMIT_NICE", RLIMIT_NICE },
	{ "RLIMIT_NOFILE", RLIMIT_NOFILE },   { "RLIMIT_NPROC", RLIMIT_NPROC },       { "RLIMIT_RSS", RLIMIT_RSS },
	{ "RLIMIT_RTPRIO", RLIMIT_RTPRIO },   { "RLIMIT_RTTIME", RLIMIT_RTTIME },     { "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING },
	{ "RLIMIT_STACK", RLIMIT_STACK },
};

static int parse_rlimit(const struct json *n, struct process_spec *p, struct rt_error *err)
{
	const char *type = "";
	uint64_t soft, hard;
	int r = config_string(n, "type", &type, err);
	if (r < 0)
		return r;
	if (!json_u64(json_get(n, "soft"), &soft) || !json_u64(json_get(n, "hard"), &hard) || soft > hard)
		return rt_fail(err, EINVAL, "config.json: rlimit %s needs soft and hard, soft at most hard", type);
	for (size_t i = 0; i < sizeof rlimit_names / sizeof *rlimit_names; i++) {
		if (strcmp(rlimit_names[i].name, type))
			continue;
		for (size_t j = 0; j < p->rlimit_count; j++) {
			if (p->rlimits[j].resource == rlimit_names[i].resource)
				return rt_fail(err, EINVAL, "config.json: rlimit %s is given twice", type);
		}
		p->rlimits[p->rlimit_count++] = (struct rlimit_spec){ rlimit_names[i].resource, { soft, hard } };
		return 0;
	}
	return rt_fail(err, EINVAL, "config.json: unknown rlimit %s", type);
}

static int parse_rlimits(struct config *c, const struct json *process, struct rt_error *err)
{
	const struct json *list;
	int r = config_list(process, "rlimits", &list, err);
	if (r < 0)
		return r;
	c->process.rlimits = config_alloc(c, list ? list->count : 0, sizeof *c->process.rlimits);
	if (!c->process.rlimits)
		return rt_fail(err, ENOMEM, "config.json: rlimits");
	json_each(n, list) {
		if ((r = parse_rlimit(n, &c->process, err)) < 0)
			return r;
	}
	return 0;
}

/* The kernel takes no others, and a program with less than it asked for is no less confined. */
static void drop_ambient(struct process_spec *p)
{
	uint64_t can = p->caps[CAPSET_PERMITTED] & p->caps[CAPSET_INHERITABLE];
	for (int c = 0; cap_name(c); c++) {
		if (p->caps[CAPSET_AMBIENT] & ~can & (UINT64_C(1) << c))
			log_warning("can't raise ambient capability CAP_%s: it is not both permitted and inheritable", cap_name(c));
	}
	p->caps[CAPSET_AMBIENT] &= can;
}

static int parse_capabilities(struct process_spec *p, const struct json *process, struct rt_error *err)
{
	static const char *const sets[CAPSETS] = { "bounding", "effective", "permitted", "inheritable", "ambient" };
	const struct json *caps;
	int r = config_object(process, "capabilities", &caps, err);
	if (r < 0 || !caps)
		return r;
	p->has_capabilities = true;
	for (int s = 0; s < CAPSETS; s++) {
		const struct json *list;
		if ((r = config_list(caps, sets[s], &list, err)) < 0)
			return r;
		json_each(name, list) {
			int cap = cap_from_name(json_str(name, ""));
			if (name->type != JSON_STRING)
				return rt_fail(err, EINVAL, "config.json: capabilities.%s must be an array of strings", sets[s]);
			if (cap < 0)
				log_warning("capability %.60s is unknown and is not given", name->string);
			else
				p->caps[s] |= UINT64_C(1) << cap;
		}
	}
	if (p->caps[CAPSET_EFFECTIVE] & ~p->caps[CAPSET_PERMITTED])
		return rt_fail(err, EINVAL, "config.json: effective capabilities must be permitted");
	drop_ambient(p);
	return 0;
}

static int parse_user(struct config *c, const struct json *process, struct rt_error *err)
{
	struct process_spec *p = &c->process;
	const struct json *user, *groups;
	int64_t mask = 0022;
	int r;
	if ((r = config_object(process, "user", &user, err)) < 0 || (r = config_id(user, "uid", &p->uid, err)) < 0 ||
	    (r = config_id(user, "gid", &p->gid, err)) < 0 || (r = config_int(user, "umask", 0, 0777, &mask, err)) < 0 ||
	    (r = config_list(user, "additionalGids", &groups, err)) < 0)
		return r;
	p->umask = (mode_t)mask;
	p->groups = config_alloc(c, groups ? groups->count : 0, sizeof *p->groups);
	if (!p->groups)
		return rt_fail(err, ENOMEM, "config.json: additionalGids");
	json_each(g, groups) {
		uint64_t v;
		if (!json_u64(g, &v) || v >= UINT32_MAX)
			return rt_fail(err, EINVAL, "config.json: additionalGids must be ids");
		p->groups[p->group_count++] = (uint32_t)v;
	}
	return 0;
}

/* A label would be a promise that nothing here keeps. */
static int refuse_unsupported(const struct json *process, struct rt_error *err)
{
	static const char *const fields[] = { "selinuxLabel", "commandLine" };
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		const struct json *n = json_get(process, fields[i]);
		if (n && !(n->type == JSON_STRING && n->count == 0))
			return rt_fail(err, ENOTSUP, "config.json: process.%s is not supported", fields[i]);
	}
	return 0;
}

static int check_env(const struct strings *env, struct rt_error *err)
{
	for (size_t i = 0; i < env->count; i++) {
		const char *eq = strchr(env->at[i], '=');
		if (!eq || eq == env->at[i])
			return rt_fail(err, EINVAL, "config.json: process.env[%zu] is not NAME=value", i);
	}
	return 0;
}

/* By name, and those of one name in their order. */
static int compare_variables(const void *a, const void *b)
{
	const char *const *x = *(const char *const *const *)a, *const *y = *(const char *const *const *)b;
	size_t n = strcspn(*x, "="), m = strcspn(*y, "=");
	int order = memcmp(*x, *y, n < m ? n : m);
	if (order == 0 && n != m)
		order = n < m ? -1 : 1;
	return order ? order : (x > y) - (x < y);
}

static bool same_name(const char *x, const char *y)
{
	size_t n = strcspn(x, "=") + 1;
	return !strncmp(x, y, n);
}

/* Engines append what overrides; a program's getenv(3) finds the first. The last one stays, in the place of the first. */
static int drop_repeated(struct config *c, struct strings *env, struct rt_error *err)
{
	const char ***sorted = config_alloc(c, env->count, sizeof *sorted);
	if (!sorted)
		return rt_fail(err, ENOMEM, "config.json: process.env");
	for (size_t i = 0; i < env->count; i++)
		sorted[i] = &env->at[i];
	qsort(sorted, env->count, sizeof *sorted, compare_variables);
	for (size_t first = 0, i = 1; i < env->count; i++) {
		if (!same_name(*sorted[first], *sorted[i])) {
			first = i;
			continue;
		}
		*sorted[first] = *sorted[i];
		*sorted[i] = NULL;
	}
	size_t kept = 0;
	for (size_t i = 0; i < env->count; i++) {
		if (env->at[i])
			env->at[kept++] = env->at[i];
	}
	env->at[kept] = NULL;
	env->count = kept;
	return 0;
}

int config_parse_process(struct config *c, const struct json *process, struct rt_error *err)
{
	struct process_spec *p = &c->process;
	const struct json *console;
	const char *profile = "";
	int64_t oom = INT64_MIN, width = 0, height = 0;
	int r;
	if ((r = refuse_unsupported(process, err)) < 0 || (r = config_strings(c, process, "args", &p->args, err)) < 0 ||
	    (r = config_strings(c, process, "env", &p->env, err)) < 0 || (r = config_string(process, "cwd", &p->cwd, err)) < 0 ||
	    (r = config_bool(process, "terminal", &p->terminal, err)) < 0 ||
	    (r = config_bool(process, "noNewPrivileges", &p->no_new_privileges, err)) < 0 ||
	    (r = config_int(process, "oomScoreAdj", -1000, 1000, &oom, err)) < 0 ||
	    (r = config_object(process, "consoleSize", &console, err)) < 0 ||
	    (r = config_int(console, "width", 0, UINT16_MAX, &width, err)) < 0 ||
	    (r = config_int(console, "height", 0, UINT16_MAX, &height, err)) < 0)
		return r;
	p->has_oom_score_adj = oom != INT64_MIN;
	p->oom_score_adj = p->has_oom_score_adj ? (int)oom : 0;
	p->console_width = (unsigned)width;
	p->console_height = (unsigned)height;
	if (process && (p->args.count == 0 || !*p->args.at[0]))
		return rt_fail(err, EINVAL, "config.json: process.args must name a program");
	if (!process)
		p->cwd = "/";
	if (!p->cwd || p->cwd[0] != '/')
		return rt_fail(err, EINVAL, "config.json: process.cwd must be an absolute path");
	if ((r = check_env(&p->env, err)) < 0 || (r = drop_repeated(c, &p->env, err)) < 0 || (r = parse_user(c, process, err)) < 0 || (r = parse_rlimits(c, process, err)) < 0 ||
	    (r = config_parse_scheduling(p, process, err)) < 0 || (r = config_string(process, "apparmorProfile", &profile, err)) < 0 ||
	    (r = lsm_set_apparmor(p, profile, err)) < 0)
		return r;
	return parse_capabilities(p, process, err);
}
