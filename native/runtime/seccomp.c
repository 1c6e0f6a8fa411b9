#include "runtime/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/scope.h"
#include "runtime/seccomp-notify.h"
#include "runtime/seccomp-rules.h"

#define X32_BIT 0x40000000u
#define MAX_NUMBER 1024

/*
 * Filled from the end: a jump's target is in place before the jump, so every distance is known when it is written. `start` is
 * the address of the instruction written last.
 */
struct assembler {
	struct sock_filter code[BPF_MAXINSNS];
	int start;
	bool full;
};

static int emit(struct assembler *a, unsigned short op, uint32_t k, int if_true, int if_false)
{
	if (a->start == 0) {
		a->full = true;
		return 0;
	}
	int at = --a->start;
	int jt = if_true - at - 1, jf = if_false - at - 1;
	if (BPF_CLASS(op) != BPF_JMP || BPF_OP(op) == BPF_JA)
		jt = jf = 0;
	/* Only the tree spans far, and it knows to use long jumps. */
	if (jt < 0 || jt > 255 || jf < 0 || jf > 255) {
		a->full = true;
		return 0;
	}
	a->code[at] = (struct sock_filter){ op, (uint8_t)jt, (uint8_t)jf, k };
	return at;
}

static int load(struct assembler *a, size_t offset)
{
	return emit(a, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static int give(struct assembler *a, uint32_t action)
{
	return emit(a, BPF_RET | BPF_K, action, 0, 0);
}

static int jump(struct assembler *a, unsigned short op, uint32_t k, int if_true, int if_false)
{
	return emit(a, BPF_JMP | op | BPF_K, k, if_true, if_false);
}

/* "value >= k, else left": left stands right behind, right behind that, however far. */
static int branch(struct assembler *a, uint32_t k, int right, int left)
{
	if (right - a->start <= 255)
		return jump(a, BPF_JGE, k, right, left);
	int far = emit(a, BPF_JMP | BPF_JA, (uint32_t)(right - a->start), 0, 0);
	return jump(a, BPF_JGE, k, far, left);
}

/* A condition on one argument, 64 bits in two halves; `yes` and `no` are where to go on. i386 has only low halves. */
static int emit_condition(struct assembler *a, const struct seccomp_condition *c, bool wide, int yes, int no)
{
	size_t low = offsetof(struct seccomp_data, args) + c->index * sizeof(uint64_t), high = low + 4;
	uint32_t vl = (uint32_t)c->value, vh = (uint32_t)(c->value >> 32);
	int at;
	if (c->op == CMP_MASKED_EQ) {
		at = jump(a, BPF_JEQ, (uint32_t)c->datum, yes, no);
		emit(a, BPF_ALU | BPF_AND | BPF_K, vl, 0, 0);
		at = load(a, low);
		if (!wide)
			return at;
		at = jump(a, BPF_JEQ, (uint32_t)(c->datum >> 32), at, no);
		emit(a, BPF_ALU | BPF_AND | BPF_K, vh, 0, 0);
		return load(a, high);
	}
	if (c->op == CMP_LT || c->op == CMP_LE || c->op == CMP_NE) {
		/* The opposite of GE, GT and EQ. */
		int t = yes;
		yes = no;
		no = t;
	}
	bool equal = c->op == CMP_EQ || c->op == CMP_NE;
	unsigned short order = c->op == CMP_GE || c->op == CMP_LT ? BPF_JGE : BPF_JGT;
	jump(a, equal ? BPF_JEQ : order, vl, yes, no);
	at = load(a, low);
	if (!wide)
		return at;
	at = jump(a, BPF_JEQ, vh, at, no);
	if (!equal)
		at = jump(a, BPF_JGT, vh, yes, at);
	return load(a, high);
}

/* The rules of one syscall, first match first; without a match the default action. */
static int emit_chain(struct assembler *a, const struct seccomp_rules *rules, const struct seccomp_rule *const *chain, size_t count, bool wide)
{
	int next = give(a, rules->default_action);
	while (count-- > 0) {
		const struct seccomp_rule *r = chain[count];
		int at = give(a, r->action);
		for (size_t i = r->count; i-- > 0;)
			at = emit_condition(a, &r->conditions[i], wide, at, next);
		next = at;
	}
	return next;
}

/* Numbers from..(the next leaf's from - 1) share one verdict. */
struct leaf {
	uint32_t from;
	uint32_t action;
	const struct seccomp_rule **chain; /* NULL: the action alone */
	size_t count;
};

static int emit_leaf(struct assembler *a, const struct seccomp_rules *rules, const struct leaf *l, bool wide)
{
	return l->chain ? emit_chain(a, rules, l->chain, l->count, wide) : give(a, l->action);
}

static int emit_tree(struct assembler *a, const struct seccomp_rules *rules, const struct leaf *leaves, size_t count, bool wide)
{
	if (count == 1)
		return emit_leaf(a, rules, leaves, wide);
	size_t half = count / 2;
	int right = emit_tree(a, rules, leaves + half, count - half, wide);
	int left = emit_tree(a, rules, leaves, half, wide);
	return branch(a, leaves[half].from, right, left);
}

/* What a syscall that nobody has heard of yet gets: programs take ENOSYS as "use the older one". */
static uint32_t unknown_action(const struct seccomp_rules *rules)
{
	return rules->default_action == (SECCOMP_RET_ERRNO | EPERM) ? SECCOMP_RET_ERRNO | ENOSYS : rules->default_action;
}

static void add_leaf(struct leaf *leaves, size_t *count, struct leaf l)
{
	const struct leaf *last = *count ? &leaves[*count - 1] : NULL;
	if (last && !last->chain && !l.chain && last->action == l.action)
		return;
	leaves[(*count)++] = l;
}

static int emit_abi(struct assembler *a, const struct seccomp_rules *rules, enum abi abi, int *at, struct rt_error *err)
{
	uint32_t base = abi == ABI_X32 ? X32_BIT : 0;
	int limit = syscall_limit(abi);
	cleanup_free struct leaf *leaves = calloc((size_t)limit + 2, sizeof *leaves);
	cleanup_free const struct seccomp_rule **chains = calloc(rules->uses + 1, sizeof *chains);
	if (!leaves || !chains || limit > MAX_NUMBER)
		return rt_fail(err, ENOMEM, "compile the seccomp filter");
	size_t count = 0, used = 0;
	for (int n = 0; n < limit; n++) {
		struct leaf l = { .from = base + (uint32_t)n, .action = rules->default_action };
		const struct seccomp_rule **chain = chains + used;
		size_t length = seccomp_rules_of(rules, abi, n, chain);
		if (length && chain[0]->count == 0) {
			l.action = chain[0]->action;
		} else if (length) {
			l.chain = chain;
			l.count = length;
			used += length;
		}
		add_leaf(leaves, &count, l);
	}
	add_leaf(leaves, &count, (struct leaf){ .from = base + (uint32_t)limit, .action = unknown_action(rules) });
	*at = emit_tree(a, rules, leaves, count, abi != ABI_I386);
	return 0;
}

/* Written last part first: i386, x32, x86-64, then the choice between them. */
static int emit_all(struct assembler *a, const struct seccomp_rules *rules, struct rt_error *err)
{
	int i386 = -1, x32 = -1, native = -1, r;
	if (rules->abis & (1u << ABI_I386)) {
		if ((r = emit_abi(a, rules, ABI_I386, &i386, err)) < 0)
			return r;
		i386 = load(a, offsetof(struct seccomp_data, nr));
	}
	/* An ABI that the config does not list: no rule was meant for its numbers. */
	if (!(rules->abis & (1u << ABI_X32)))
		x32 = give(a, SECCOMP_RET_KILL_PROCESS);
	else if ((r = emit_abi(a, rules, ABI_X32, &x32, err)) < 0)
		return r;
	if (!(rules->abis & (1u << ABI_X86_64)))
		native = give(a, SECCOMP_RET_KILL_PROCESS);
	else if ((r = emit_abi(a, rules, ABI_X86_64, &native, err)) < 0)
		return r;
	branch(a, X32_BIT, x32, native);
	native = load(a, offsetof(struct seccomp_data, nr));
	int foreign = give(a, SECCOMP_RET_KILL_PROCESS);
	if (i386 >= 0)
		i386 = emit(a, BPF_JMP | BPF_JA, (uint32_t)(i386 - a->start), 0, 0);
	int not_native = jump(a, BPF_JEQ, AUDIT_ARCH_I386, i386 >= 0 ? i386 : foreign, foreign);
	jump(a, BPF_JEQ, AUDIT_ARCH_X86_64, native, not_native);
	load(a, offsetof(struct seccomp_data, arch));
	return 0;
}

int seccomp_compile(const struct json *seccomp, struct seccomp_filter *out, struct rt_error *err)
{
	cleanup_rules struct seccomp_rules rules = { 0 };
	*out = (struct seccomp_filter){ 0 };
	int r = seccomp_rules_parse(seccomp, &rules, err);
	if (r < 0)
		return r;
	cleanup_free struct assembler *a = calloc(1, sizeof *a);
	if (!a)
		return rt_fail(err, ENOMEM, "compile the seccomp filter");
	a->start = BPF_MAXINSNS;
	if ((r = emit_all(a, &rules, err)) < 0)
		return r;
	if (a->full)
		return rt_fail(err, E2BIG, "the seccomp filter has too many rules");
	out->length = (unsigned short)(BPF_MAXINSNS - a->start);
	out->program = malloc(out->length * sizeof *out->program);
	if (!out->program)
		return rt_fail(err, ENOMEM, "compile the seccomp filter");
	memcpy(out->program, a->code + a->start, out->length * sizeof *out->program);
	out->flags = rules.flags;
	return 0;
}

void seccomp_free(struct seccomp_filter *f)
{
	free(f->program);
	*f = (struct seccomp_filter){ 0 };
}

int seccomp_load(const struct seccomp_filter *f, struct rt_error *err)
{
	struct sock_fprog p = { f->length, f->program };
	if (f->listener)
		return seccomp_load_notifying(f, err);
	/* A matter of notifications alone, and refused by the kernel without them. */
	unsigned flags = f->flags & ~(unsigned)SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p) < 0)
		return rt_fail_errno(err, "load the seccomp filter");
	return 0;
}
