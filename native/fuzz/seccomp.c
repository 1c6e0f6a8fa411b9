/* The seccomp compiler: the program that it makes decides every call as the plain reading of the rules does. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/scope.h"
#include "fuzz/fuzz.h"
#include "fuzz/seccomp-model.h"
#include "runtime/seccomp.h"

/* Runs a program as the kernel does, after its checker (kernel/seccomp.c: seccomp_check_filter): only loads of the data's words, forward jumps within. */
static uint32_t run(const struct seccomp_filter *f, const struct seccomp_data *call)
{
	uint32_t a = 0;
	for (size_t pc = 0; pc < f->length; pc++) {
		const struct sock_filter *i = &f->program[pc];
		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			expect(i->k % 4 == 0 && i->k + 4 <= sizeof *call);
			memcpy(&a, (const char *)call + i->k, 4);
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i->k;
			break;
		case BPF_JMP | BPF_JA:
			expect(i->k < f->length - pc - 1);
			pc += i->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += a == i->k ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			pc += a > i->k ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			pc += a >= i->k ? i->jt : i->jf;
			break;
		case BPF_RET | BPF_K:
			return i->k;
		default:
			fuzz_broken("an instruction that seccomp admits", __FILE__, __LINE__);
		}
	}
	fuzz_broken("the program ends with a return", __FILE__, __LINE__);
}

static void compare(const struct seccomp_filter *f, const struct model *m, const struct seccomp_data *call)
{
	expect(run(f, call) == model_verdict(m, call));
}

/* Calls near every condition of the rules: equal to it, one off, and with the other half of 64 bits changed. */
static void compare_all(const struct seccomp_filter *f, const struct model *m, struct bytes *b)
{
	static const uint32_t arches[] = { AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64 };
	for (size_t i = 0; i < m->count; i++) {
		const struct model_rule *r = &m->rules[i];
		for (unsigned kind = 0; kind < 4; kind++) {
			struct seccomp_data call = { .arch = arches[kind], .nr = model_number(r->name, kind) };
			for (unsigned c = 0; c < r->count; c++) {
				const struct model_condition *on = &r->conditions[c];
				call.args[on->index] = on->op == CMP_MASKED_EQ ? on->datum : on->value;
			}
			for (unsigned variant = 0; variant < 6; variant++) {
				uint8_t which = take_byte(b) % 6;
				uint64_t kept = call.args[which];
				call.args[which] += variant == 1 ? 1 : variant == 2 ? UINT64_MAX : variant == 3 ? UINT64_C(1) << 32 : 0;
				if (variant == 4)
					call.args[which] = take_number(b, 8);
				if (variant == 5)
					call.nr ^= 1 << (take_byte(b) % 11);
				/* Registers of a 32-bit process have 32 bits. */
				struct seccomp_data seen = call;
				for (unsigned k = 0; k < 6 && kind == 1; k++)
					seen.args[k] = (uint32_t)seen.args[k];
				compare(f, m, &seen);
				call.args[which] = kept;
			}
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct rt_error err = { 0 };
	struct seccomp_filter f = { 0 };
	struct model m;
	model_take(&m, &b);
	cleanup_free char *text = model_json(&m);
	cleanup_json struct json_doc *doc = NULL;
	expect(text && json_parse(text, strlen(text), &doc, &err) == 0);
	expect(seccomp_compile(json_root(doc), &f, &err) == 0);
	expect(f.length > 0 && f.length <= BPF_MAXINSNS);
	compare_all(&f, &m, &b);
	seccomp_free(&f);
	return 0;
}
