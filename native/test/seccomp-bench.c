/*
 * Reads linux.seccomp JSON on stdin, prints what its way to a filter costs, in µs, as the least of some runs each: {"instructions","parse","compile","read"}.
 * `read` is what a kept filter would cost instead of `compile`, without the hash to find it by: a file opened, read and closed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/seccomp.h"

#define ROUNDS 1000

static double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double least(double a, double b)
{
	return a < b ? a : b;
}

/* An unnamed file with the filter, opened again by its link in /proc. -1 when that fails. */
static int keep(const struct seccomp_filter *f, char *path, size_t size)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || fs_write_all(fd, (const char *)f->program, f->length * sizeof *f->program) < 0)
		return -1;
	snprintf(path, size, "/proc/self/fd/%d", fd);
	return fd;
}

static double read_kept(const char *path, size_t bytes)
{
	double from = now_us();
	char *text = malloc(bytes);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (!text || fd < 0 || read(fd, text, bytes) != (ssize_t)bytes)
		exit(1);
	close(fd);
	free(text);
	return now_us() - from;
}

int main(void)
{
	struct rt_error err = { 0 };
	cleanup_free char *text = NULL;
	size_t len;
	double parse = 1e9, compile = 1e9, kept = 1e9;
	unsigned instructions = 0;
	if (fs_read_fd(0, "stdin", JSON_MAX_BYTES, &text, &len, &err) < 0)
		return 1;
	for (int i = 0; i < ROUNDS; i++) {
		cleanup_json struct json_doc *doc = NULL;
		struct seccomp_filter filter = { 0 };
		char path[64];
		double from = now_us();
		if (json_parse(text, len, &doc, &err) < 0)
			return 1;
		double parsed = now_us();
		if (seccomp_compile(json_root(doc), &filter, &err) < 0)
			return 1;
		compile = least(compile, now_us() - parsed);
		parse = least(parse, parsed - from);
		int fd = keep(&filter, path, sizeof path);
		if (fd < 0)
			return 1;
		kept = least(kept, read_kept(path, filter.length * sizeof *filter.program));
		close(fd);
		instructions = filter.length;
		seccomp_free(&filter);
	}
	printf("{\"instructions\":%u,\"parse\":%.1f,\"compile\":%.1f,\"read\":%.1f}\n", instructions, parse, compile, kept);
	return 0;
}
