#include "fuzz/seccomp-model.h"

#include <errno.h>
#include <linux/audit.h>

#include "common/json.h"

#define X32_BIT 0x40000000u

static const struct { const char *name; uint32_t value; bool takes_errno; } actions[] = {
	{ "SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS, false }, { "SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD, false },
	{ "SCMP_ACT_TRAP", SECCOMP_RET_TRAP, false },                 { "SCMP_ACT_ERRNO", SECCOMP_RET_ERRNO, true },
	{ "SCMP_ACT_TRACE", SECCOMP_RET_TRACE, true },                { "SCMP_ACT_LOG", SECCOMP_RET_LOG, false },
	{ "SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW, false },
};
#define ACTIONS (sizeof actions / sizeof *actions)

static const char *const op_names[] = {
	[CMP_NE] = "SCMP_CMP_NE", [CMP_LT] = "SCMP_CMP_LT", [CMP_LE] = "SCMP_CMP_LE", [CMP_EQ] = "SCMP_CMP_EQ",
	[CMP_GE] = "SCMP_CMP_GE", [CMP_GT] = "SCMP_CMP_GT", [CMP_MASKED_EQ] = "SCMP_CMP_MASKED_EQ",
};
static const char *const abi_names[ABIS] = { [ABI_X86_64] = "SCMP_ARCH_X86_64", [ABI_I386] = "SCMP_ARCH_X86", [ABI_X32] = "SCMP_ARCH_X32" };

static uint64_t take_value(struct bytes *b)
{
	uint8_t how = take_byte(b);
	return how < 128 ? how : how < 192 ? take_number(b, 4) : how < 224 ? take_number(b, 4) << 32 | (how & 3) : take_number(b, 8);
}

/* Few different syscalls, so that rules meet. */
static const struct syscall_entry *take_syscall(struct bytes *b)
{
	static const char *const popular[] = { "read", "write", "socket", "clone", "personality", "socketcall", "futex_time64", "ioctl" };
	uint8_t which = take_byte(b);
	if (which < 224)
		return syscall_find(popular[which & 7], NULL);
	const struct syscall_entry *e = syscall_at((size_t)take_number(b, 2) % 512);
	return e ? e : syscall_at(0);
}

void model_take(struct model *m, struct bytes *b)
{
	*m = (struct model){ 0 };
	m->default_action = take_byte(b) % ACTIONS;
	m->default_errno = (unsigned)take_number(b, 1);
	m->abis = take_byte(b) & 7;
	m->abis = m->abis ? m->abis : 1;
	m->count = take_byte(b) % (MODEL_RULES + 1);
	for (size_t i = 0; i < m->count; i++) {
		struct model_rule *r = &m->rules[i];
		r->name = take_syscall(b);
		r->action = take_byte(b) % ACTIONS;
		r->errno_value = (unsigned)take_number(b, 2) & 4095;
		r->count = take_byte(b) % (MODEL_CONDITIONS + 1);
		for (unsigned c = 0; c < r->count; c++)
			r->conditions[c] = (struct model_condition){ take_byte(b) % 6, take_byte(b) % 7, take_value(b), take_value(b) };
	}
}

static void put_action(struct json_out *o, const char *key, const char *ret_key, unsigned action, unsigned value)
{
	json_out_key(o, key);
	json_out_str(o, actions[action].name);
	if (actions[action].takes_errno) {
		json_out_key(o, ret_key);
		json_out_uint(o, value);
	}
}

static void put_rule(struct json_out *o, const struct model_rule *r)
{
	json_out_open(o, '{');
	put_action(o, "action", "errnoRet", r->action, r->errno_value);
	json_out_key(o, "names");
	json_out_open(o, '[');
	json_out_str(o, r->name->name);
	json_out_close(o, ']');
	json_out_key(o, "args");
	json_out_open(o, '[');
	for (unsigned c = 0; c < r->count; c++) {
		json_out_open(o, '{');
		json_out_key(o, "index");
		json_out_uint(o, r->conditions[c].index);
		json_out_key(o, "op");
		json_out_str(o, op_names[r->conditions[c].op]);
		json_out_key(o, "value");
		json_out_uint(o, r->conditions[c].value);
		json_out_key(o, "valueTwo");
		json_out_uint(o, r->conditions[c].datum);
		json_out_close(o, '}');
	}
	json_out_close(o, ']');
	json_out_close(o, '}');
}

char *model_json(const struct model *m)
{
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	put_action(&o, "defaultAction", "defaultErrnoRet", m->default_action, m->default_errno);
	json_out_key(&o, "architectures");
	json_out_open(&o, '[');
	for (int abi = 0; abi < ABIS; abi++) {
		if (m->abis & (1u << abi))
			json_out_str(&o, abi_names[abi]);
	}
	json_out_close(&o, ']');
	json_out_key(&o, "syscalls");
	json_out_open(&o, '[');
	for (size_t i = 0; i < m->count; i++)
		put_rule(&o, &m->rules[i]);
	json_out_close(&o, ']');
	json_out_close(&o, '}');
	return json_out_finish(&o);
}

static uint32_t action_value(unsigned action, unsigned errno_value)
{
	return actions[action].value | (actions[action].takes_errno ? errno_value : 0);
}

static bool holds(const struct model_condition *c, const struct seccomp_data *call, bool narrow)
{
	uint64_t cut = narrow ? UINT32_MAX : UINT64_MAX, arg = call->args[c->index] & cut, value = c->value & cut;
	switch (c->op) {
	case CMP_NE:
		return arg != value;
	case CMP_LT:
		return arg < value;
	case CMP_LE:
		return arg <= value;
	case CMP_EQ:
		return arg == value;
	case CMP_GE:
		return arg >= value;
	case CMP_GT:
		return arg > value;
	case CMP_MASKED_EQ:
		return (arg & value) == (c->datum & cut);
	}
	return false;
}

/* All conditions hold; with two on one argument each stands for a rule of its own. */
static bool matches(const struct model_rule *r, const struct seccomp_data *call, bool narrow)
{
	unsigned held = 0, seen = 0;
	bool repeats = false;
	for (unsigned c = 0; c < r->count; c++) {
		held += holds(&r->conditions[c], call, narrow);
		repeats |= seen >> r->conditions[c].index & 1;
		seen |= 1u << r->conditions[c].index;
	}
	return repeats ? held > 0 : held == r->count;
}

uint32_t model_verdict(const struct model *m, const struct seccomp_data *call)
{
	uint32_t number = (uint32_t)call->nr;
	int abi = call->arch == AUDIT_ARCH_I386 ? ABI_I386 : call->arch != AUDIT_ARCH_X86_64 ? -1 : number >= X32_BIT ? ABI_X32 : ABI_X86_64;
	if (abi < 0 || !(m->abis & (1u << abi)))
		return SECCOMP_RET_KILL_PROCESS;
	number = abi == ABI_X32 ? number - X32_BIT : number;
	for (size_t i = 0; i < m->count; i++) {
		const struct model_rule *r = &m->rules[i];
		int of_rule = r->name->number[abi];
		if (of_rule >= 0 && (uint32_t)of_rule == number && matches(r, call, abi == ABI_I386))
			return action_value(r->action, r->errno_value);
	}
	uint32_t by_default = action_value(m->default_action, m->default_errno);
	if (number >= (uint32_t)syscall_limit((enum abi)abi) && by_default == (SECCOMP_RET_ERRNO | EPERM))
		return SECCOMP_RET_ERRNO | ENOSYS;
	return by_default;
}

int model_number(const struct syscall_entry *e, unsigned abi)
{
	int number = abi < ABIS ? e->number[abi] : 0;
	number = number < 0 ? 700 : number;
	return abi == ABI_X32 ? number | (int)X32_BIT : number;
}
