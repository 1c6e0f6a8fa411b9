/*
 * What the fuzz targets share. A target is one file that defines LLVMFuzzerTestOneInput (libFuzzer's contract: returns 0, keeps
 * nothing between calls that changes what the next one does) and states with `expect` what must hold whatever the input.
 */
#ifndef BERTH_FUZZ_FUZZ_H
#define BERTH_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program when a promise of the code under test is broken; libFuzzer keeps the input. */
#define expect(holds) \
	do { \
		if (!(holds)) \
			fuzz_broken(#holds, __FILE__, __LINE__); \
	} while (0)
_Noreturn void fuzz_broken(const char *promise, const char *file, int line);

/* What is left of an input that is taken apart from its start. Past its end everything is zero. */
struct bytes {
	const uint8_t *at;
	size_t left;
};
uint8_t take_byte(struct bytes *b);
uint64_t take_number(struct bytes *b, unsigned width); /* `width` bytes, little-endian */
/* A copy of the next bytes up to a NUL or a newline, or of at most max; NUL-terminated, of exactly that size, the caller's to free. */
char *take_line(struct bytes *b, size_t max);
/* A copy of all of the rest without its NULs, NUL-terminated, the caller's to free. */
char *take_text(struct bytes *b);

/* A directory of this process's own in TMPDIR, made once: its descriptor. Whoever gave TMPDIR removes it. */
int fuzz_directory(void);
/* Creates or replaces a file there. */
void fuzz_write(int dirfd, const char *name, const void *bytes, size_t size);
#endif
