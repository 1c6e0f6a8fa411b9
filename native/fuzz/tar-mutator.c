#include "fuzz/tar-mutator.h"

#include <stdio.h>
#include <string.h>

#define BLOCK 512

static void seal(uint8_t *block)
{
	unsigned sum = 0;
	memset(block + 148, ' ', 8);
	for (int i = 0; i < BLOCK; i++)
		sum += block[i];
	snprintf((char *)block + 148, 8, "%06o", sum);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	static const char types[] = { '0', '1', '2', '3', '5', '6', 'x', 'g', 'L', 'K', 'S', 0 };
	size = LLVMFuzzerMutate(data, size, max_size);
	if (seed % 8 == 0)
		return size;
	for (size_t at = 0; at + BLOCK <= size; at += BLOCK) {
		uint8_t *block = data + at;
		if (memcmp(block + 257, "ustar", 5) != 0)
			continue;
		seed = seed * 1664525u + 1013904223u;
		if ((seed >> 16) % 16 == 0)
			block[156] = (uint8_t)types[(seed >> 24) % sizeof types];
		seal(block);
	}
	return size;
}
