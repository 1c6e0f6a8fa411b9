/*
 * The rules of linux.seccomp, read and sorted by syscall.
 *
 * For one syscall the first rule that matches counts, in the order of the config; a rule without conditions always matches.
 * All conditions of a rule must hold; a rule with two conditions on the same argument stands for one rule each, as in runc.
 * A name that an ABI does not have is skipped there. One that no ABI has is skipped when its rule would only have been more
 * lenient than the default, and refused otherwise.
 */
#ifndef BERTH_RUNTIME_SECCOMP_RULES_H
#define BERTH_RUNTIME_SECCOMP_RULES_H

#include <stdint.h>

#include "common/error.h"
#include "common/json.h"
#include "runtime/syscalls.h"

enum seccomp_op { CMP_NE, CMP_LT, CMP_LE, CMP_EQ, CMP_GE, CMP_GT, CMP_MASKED_EQ };

struct seccomp_condition {
	unsigned index; /* argument, 0 to 5 */
	enum seccomp_op op;
	uint64_t value; /* of CMP_MASKED_EQ the mask */
	uint64_t datum; /* of CMP_MASKED_EQ what the masked argument must be */
};

#define SECCOMP_MAX_CONDITIONS 6

struct seccomp_rule {
	uint32_t action; /* SECCOMP_RET_* with its data */
	struct seccomp_condition conditions[SECCOMP_MAX_CONDITIONS];
	size_t count;
	const struct json *names;
};

/* One syscall named by one rule, linked in the order of the config. */
struct seccomp_use {
	const struct seccomp_rule *rule;
	struct seccomp_use *next;
};

struct seccomp_rules {
	uint32_t default_action;
	unsigned abis;  /* 1 << enum abi */
	unsigned flags; /* SECCOMP_FILTER_FLAG_* */
	struct seccomp_rule *rules;
	size_t count;
	struct seccomp_use *pool;
	size_t uses;                    /* entries of pool, an upper bound of any ABI's chains together */
	struct seccomp_use **by_number[ABIS]; /* first use of each number */
};

must_check int seccomp_rules_parse(const struct json *seccomp, struct seccomp_rules *out, struct rt_error *err);
void seccomp_rules_free(struct seccomp_rules *r);

/* Writes the rules of one number to chain, up to and with the first unconditional one; returns how many. */
size_t seccomp_rules_of(const struct seccomp_rules *r, enum abi abi, int number, const struct seccomp_rule **chain);

/* What config.json may name here: the i-th of a kind, or NULL. */
enum seccomp_kind { SECCOMP_ACTIONS, SECCOMP_OPERATORS, SECCOMP_ARCHITECTURES, SECCOMP_FLAGS };
const char *seccomp_name(enum seccomp_kind kind, size_t i);

#define cleanup_rules __attribute__((cleanup(seccomp_rules_free)))

#endif
