/* Syscall numbers of the three x86 ABIs, by name. */
#ifndef BERTH_RUNTIME_SYSCALLS_H
#define BERTH_RUNTIME_SYSCALLS_H

#include <stddef.h>

enum abi { ABI_X86_64, ABI_I386, ABI_X32, ABIS };

struct syscall_entry {
	const char *name;
	short number[ABIS]; /* x32's without its bit; -1: the ABI has none */
};

/*
 * NULL when no ABI has it. `after` is the entry found before, or NULL: lists of names are mostly sorted, as the table is, and the next is then found a step or
 * two behind it.
 */
const struct syscall_entry *syscall_find(const char *name, const struct syscall_entry *after);

/* The i-th entry, by name; NULL past the end. */
const struct syscall_entry *syscall_at(size_t i);

/* One more than the largest number of an ABI. */
int syscall_limit(enum abi abi);

#endif
