#include "fuzz/fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Noreturn void fuzz_broken(const char *promise, const char *file, int line)
{
	fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, promise);
	abort();
}

uint8_t take_byte(struct bytes *b)
{
	if (b->left == 0)
		return 0;
	b->left--;
	return *b->at++;
}

uint64_t take_number(struct bytes *b, unsigned width)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < width; i++)
		n |= (uint64_t)take_byte(b) << (8 * i);
	return n;
}

static char *copy(const uint8_t *from, size_t n)
{
	char *text = malloc(n + 1);
	expect(text != NULL);
	if (n)
		memcpy(text, from, n);
	text[n] = 0;
	return text;
}

char *take_line(struct bytes *b, size_t max)
{
	size_t n = 0;
	while (n < b->left && n < max && b->at[n] && b->at[n] != '\n')
		n++;
	char *line = copy(b->at, n);
	b->at += n;
	b->left -= n;
	if (b->left && (!*b->at || *b->at == '\n'))
		take_byte(b);
	return line;
}

char *take_text(struct bytes *b)
{
	char *text = copy(b->at, b->left), *o = text;
	for (size_t i = 0; i < b->left; i++) {
		if (text[i])
			*o++ = text[i];
	}
	*o = 0;
	b->left = 0;
	return text;
}

int fuzz_directory(void)
{
	static int dir = -1;
	if (dir < 0) {
		char path[4096];
		const char *parent = getenv("TMPDIR");
		snprintf(path, sizeof path, "%s/berth-fuzz-XXXXXX", parent ? parent : "/tmp");
		expect(mkdtemp(path) != NULL);
		dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		expect(dir >= 0);
	}
	return dir;
}

void fuzz_write(int dirfd, const char *name, const void *bytes, size_t size)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	expect(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	close(fd);
}
