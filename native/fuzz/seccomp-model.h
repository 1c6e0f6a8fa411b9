/* A seccomp profile as a fuzzer makes it, its JSON, and its plain reading: the first rule whose conditions hold, else the default. */
#ifndef BERTH_FUZZ_SECCOMP_MODEL_H
#define BERTH_FUZZ_SECCOMP_MODEL_H

#include <linux/seccomp.h>

#include "fuzz/fuzz.h"
#include "runtime/seccomp-rules.h"

#define MODEL_RULES 8
#define MODEL_CONDITIONS 4

struct model_condition {
	unsigned index;
	enum seccomp_op op;
	uint64_t value, datum;
};

/* One syscall of one rule. */
struct model_rule {
	const struct syscall_entry *name;
	unsigned action; /* index of the action's name */
	unsigned errno_value;
	struct model_condition conditions[MODEL_CONDITIONS];
	unsigned count;
};

struct model {
	unsigned default_action, default_errno;
	unsigned abis; /* 1 << enum abi; never 0 */
	struct model_rule rules[MODEL_RULES];
	size_t count;
};

void model_take(struct model *m, struct bytes *b);
/* linux.seccomp, the caller's to free. */
char *model_json(const struct model *m);
/* SECCOMP_RET_* with its data. */
uint32_t model_verdict(const struct model *m, const struct seccomp_data *call);
/* The number of a syscall in an ABI as it stands in seccomp_data; some number where the ABI has none. */
int model_number(const struct syscall_entry *e, unsigned abi);

#endif
