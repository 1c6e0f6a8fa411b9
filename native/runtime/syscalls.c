#include "runtime/syscalls.h"

#include <string.h>

static const struct syscall_entry table[] = {
#include "syscalls.inc"
};

#define COUNT (sizeof table / sizeof *table)

const struct syscall_entry *syscall_at(size_t i)
{
	return i < COUNT ? &table[i] : NULL;
}

#define NEAR 4

const struct syscall_entry *syscall_find(const char *name, const struct syscall_entry *after)
{
	size_t low = 0, high = COUNT;
	for (size_t i = after ? (size_t)(after - table) + 1 : 0, end = i + NEAR; i < end && i < COUNT; i++) {
		if (!strcmp(name, table[i].name))
			return &table[i];
	}
	while (low < high) {
		size_t mid = (low + high) / 2;
		int order = strcmp(name, table[mid].name);
		if (order == 0)
			return &table[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

int syscall_limit(enum abi abi)
{
	int max = 0;
	for (size_t i = 0; i < COUNT; i++)
		max = table[i].number[abi] > max ? table[i].number[abi] : max;
	return max + 1;
}
