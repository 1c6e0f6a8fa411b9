#include "runtime/seccomp-rules.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ERRNO_VALUE 4095

struct name_value {
	const char *name;
	uint32_t value;
};

static const struct name_value actions[] = {
	{ "SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW },
	{ "SCMP_ACT_ERRNO", SECCOMP_RET_ERRNO },
	{ "SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD },
	{ "SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD },
	{ "SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS },
	{ "SCMP_ACT_TRAP", SECCOMP_RET_TRAP },
	{ "SCMP_ACT_TRACE", SECCOMP_RET_TRACE },
	{ "SCMP_ACT_LOG", SECCOMP_RET_LOG },
	{ "SCMP_ACT_NOTIFY", SECCOMP_RET_USER_NOTIF },
	{ NULL, 0 },
};

static const struct name_value ops[] = {
	{ "SCMP_CMP_NE", CMP_NE }, { "SCMP_CMP_LT", CMP_LT }, { "SCMP_CMP_LE", CMP_LE }, { "SCMP_CMP_EQ", CMP_EQ },
	{ "SCMP_CMP_GE", CMP_GE }, { "SCMP_CMP_GT", CMP_GT }, { "SCMP_CMP_MASKED_EQ", CMP_MASKED_EQ }, { NULL, 0 },
};

static const struct name_value architectures[] = {
	{ "SCMP_ARCH_X86_64", ABI_X86_64 }, { "SCMP_ARCH_X86", ABI_I386 }, { "SCMP_ARCH_X32", ABI_X32 }, { NULL, 0 },
};

/* Of other machines. Their calls never get here, so a config may name them. */
static const char *const foreign[] = {
	"SCMP_ARCH_ARM",      "SCMP_ARCH_AARCH64",  "SCMP_ARCH_MIPS",     "SCMP_ARCH_MIPS64",      "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL",      "SCMP_ARCH_MIPSEL64",
	"SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC",   "SCMP_ARCH_PPC64",    "SCMP_ARCH_PPC64LE",     "SCMP_ARCH_S390",      "SCMP_ARCH_S390X",       "SCMP_ARCH_PARISC",
	"SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64",  "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",     "SCMP_ARCH_SH",        "SCMP_ARCH_SHEB",        NULL,
};

static const struct name_value flag_names[] = {
	{ "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
	{ "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
	{ "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC },
	{ "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV },
	{ NULL, 0 },
};

const char *seccomp_name(enum seccomp_kind kind, size_t i)
{
	static const struct name_value *const tables[] = {
		[SECCOMP_ACTIONS] = actions, [SECCOMP_OPERATORS] = ops, [SECCOMP_ARCHITECTURES] = architectures, [SECCOMP_FLAGS] = flag_names,
	};
	return tables[kind][i].name;
}

static int lookup(const struct name_value *table, const struct json *node, const char *what, uint32_t *out, struct rt_error *err)
{
	const char *name = json_str(node, "");
	for (; table->name; table++) {
		if (!strcmp(table->name, name)) {
			*out = table->value;
			return 0;
		}
	}
	return rt_fail(err, ENOTSUP, "config.json: seccomp %s \"%s\" is not supported", what, name);
}

static int parse_action(const struct json *obj, const char *key, const char *ret_key, uint32_t *out, struct rt_error *err)
{
	int r = lookup(actions, json_get(obj, key), "action", out, err);
	const struct json *ret = json_get(obj, ret_key);
	uint64_t v = EPERM;
	if (r < 0)
		return r;
	bool takes = *out == SECCOMP_RET_ERRNO || *out == SECCOMP_RET_TRACE;
	if (ret && (!takes || !json_u64(ret, &v) || v > MAX_ERRNO_VALUE))
		return rt_fail(err, EINVAL, "config.json: seccomp %s does not fit its action", ret_key);
	if (takes)
		*out |= (uint32_t)v;
	return 0;
}

static int parse_condition(const struct json *n, struct seccomp_condition *c, struct rt_error *err)
{
	uint64_t index;
	uint32_t op;
	*c = (struct seccomp_condition){ 0 };
	int r = lookup(ops, json_get(n, "op"), "operator", &op, err);
	if (r < 0)
		return r;
	c->op = op;
	const struct json *two = json_get(n, "valueTwo");
	if (!json_u64(json_get(n, "index"), &index) || index > 5 || !json_u64(json_get(n, "value"), &c->value) || (two && !json_u64(two, &c->datum)))
		return rt_fail(err, EINVAL, "config.json: seccomp args need an index from 0 to 5 and values");
	c->index = (unsigned)index;
	return 0;
}

static bool repeats_index(const struct seccomp_rule *rule)
{
	for (size_t i = 0; i < rule->count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (rule->conditions[i].index == rule->conditions[j].index)
				return true;
		}
	}
	return false;
}

/* One entry of `syscalls`: one rule, or one for each condition. */
static int parse_rule(const struct json *n, struct seccomp_rules *out, struct rt_error *err)
{
	struct seccomp_rule rule = { .names = json_get(n, "names") };
	int r = parse_action(n, "action", "errnoRet", &rule.action, err);
	if (r < 0)
		return r;
	if (!rule.names || rule.names->type != JSON_ARRAY)
		return rt_fail(err, EINVAL, "config.json: seccomp syscalls need names");
	json_each(arg, json_get(n, "args")) {
		if (rule.count == SECCOMP_MAX_CONDITIONS)
			return rt_fail(err, EINVAL, "config.json: a seccomp rule has more than %d args", SECCOMP_MAX_CONDITIONS);
		if ((r = parse_condition(arg, &rule.conditions[rule.count++], err)) < 0)
			return r;
	}
	if (!repeats_index(&rule)) {
		out->rules[out->count++] = rule;
		return 0;
	}
	for (size_t i = 0; i < rule.count; i++) {
		struct seccomp_rule *one = &out->rules[out->count++];
		*one = (struct seccomp_rule){ .action = rule.action, .names = rule.names, .count = 1 };
		one->conditions[0] = rule.conditions[i];
	}
	return 0;
}

/* Higher is more lenient; the kernel's own order of precedence (seccomp(2)), the other way round. */
static int leniency(uint32_t action)
{
	static const uint32_t order[] = { SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
					  SECCOMP_RET_USER_NOTIF,   SECCOMP_RET_TRACE,       SECCOMP_RET_LOG,  SECCOMP_RET_ALLOW };
	for (int i = 0; i < 8; i++) {
		if (order[i] == (action & SECCOMP_RET_ACTION_FULL))
			return i;
	}
	return 0;
}

static int index_rule(struct seccomp_rules *out, const struct seccomp_rule *rule, struct rt_error *err)
{
	const struct syscall_entry *last = NULL;
	json_each(name, rule->names) {
		const struct syscall_entry *e = name->type == JSON_STRING ? syscall_find(name->string, last) : NULL;
		last = e ? e : last;
		if (!e && name->type != JSON_STRING)
			return rt_fail(err, EINVAL, "config.json: seccomp names must be strings");
		if (!e && leniency(rule->action) < leniency(out->default_action))
			return rt_fail(err, ENOTSUP, "config.json: seccomp cannot restrict %s: unknown syscall", name->string);
		for (int abi = 0; e && abi < ABIS; abi++) {
			if (e->number[abi] < 0 || !(out->abis & (1u << abi)))
				continue;
			/* The rules are indexed last first, so that each goes to the front. */
			struct seccomp_use **head = &out->by_number[abi][e->number[abi]];
			struct seccomp_use *use = &out->pool[out->uses++];
			*use = (struct seccomp_use){ rule, *head };
			*head = use;
		}
	}
	return 0;
}

static bool is_foreign(const char *name)
{
	for (size_t i = 0; foreign[i]; i++) {
		if (!strcmp(foreign[i], name))
			return true;
	}
	return false;
}

static int parse_abis(const struct json *list, struct seccomp_rules *out, struct rt_error *err)
{
	json_each(n, list) {
		uint32_t abi;
		if (is_foreign(json_str(n, "")))
			continue;
		int r = lookup(architectures, n, "architecture", &abi, err);
		if (r < 0)
			return r;
		out->abis |= 1u << abi;
	}
	/* None named: the machine's own. */
	if (!out->abis)
		out->abis = 1u << ABI_X86_64;
	return 0;
}

static int parse_flags(const struct json *list, struct seccomp_rules *out, struct rt_error *err)
{
	json_each(n, list) {
		uint32_t flag;
		int r = lookup(flag_names, n, "flag", &flag, err);
		if (r < 0)
			return r;
		out->flags |= flag;
	}
	return 0;
}

static int reserve(const struct json *syscalls, struct seccomp_rules *out)
{
	size_t rules = 0, uses = 0;
	json_each(n, syscalls) {
		const struct json *args = json_get(n, "args"), *names = json_get(n, "names");
		size_t of_this = args && args->count ? args->count : 1;
		rules += of_this;
		uses += of_this * (names ? names->count : 0) * ABIS;
	}
	out->rules = calloc(rules + 1, sizeof *out->rules);
	out->pool = calloc(uses + 1, sizeof *out->pool);
	if (!out->rules || !out->pool)
		return -ENOMEM;
	for (int abi = 0; abi < ABIS; abi++) {
		out->by_number[abi] = calloc((size_t)syscall_limit(abi), sizeof *out->by_number[abi]);
		if (!out->by_number[abi])
			return -ENOMEM;
	}
	return 0;
}

int seccomp_rules_parse(const struct json *seccomp, struct seccomp_rules *out, struct rt_error *err)
{
	const struct json *syscalls = json_get(seccomp, "syscalls");
	int r;
	if ((r = parse_action(seccomp, "defaultAction", "defaultErrnoRet", &out->default_action, err)) < 0 ||
	    (r = parse_abis(json_get(seccomp, "architectures"), out, err)) < 0 || (r = parse_flags(json_get(seccomp, "flags"), out, err)) < 0)
		return r;
	if (reserve(syscalls, out) < 0)
		return rt_fail(err, ENOMEM, "compile the seccomp filter");
	json_each(n, syscalls) {
		if ((r = parse_rule(n, out, err)) < 0)
			return r;
	}
	for (size_t i = out->count; i-- > 0;) {
		if ((r = index_rule(out, &out->rules[i], err)) < 0)
			return r;
	}
	return 0;
}

void seccomp_rules_free(struct seccomp_rules *r)
{
	free(r->rules);
	free(r->pool);
	for (int abi = 0; abi < ABIS; abi++)
		free(r->by_number[abi]);
}

size_t seccomp_rules_of(const struct seccomp_rules *r, enum abi abi, int number, const struct seccomp_rule **chain)
{
	size_t n = 0;
	for (const struct seccomp_use *u = r->by_number[abi][number]; u; u = u->next) {
		chain[n++] = u->rule;
		if (u->rule->count == 0)
			break;
	}
	return n;
}
