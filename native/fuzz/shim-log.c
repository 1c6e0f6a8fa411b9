/* The log that a shim makes of a container's output: whole records only, and every byte is in one or counted as dropped. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "shim/clock.h"
#include "shim/logfile.h"

#define MARKER "[berth: "
#define FILE_MAX (1u << 20)

static struct logfile one;

static uint64_t feed(struct bytes *b)
{
	uint64_t given = 0;
	while (b->left) {
		uint8_t control = take_byte(b);
		enum log_stream stream = control & 1;
		size_t room, want = control & 2 ? (size_t)take_number(b, 2) : control >> 2;
		bool filler = control & 4;
		char *to = log_room(&one, stream, &room);
		expect(room > 0);
		size_t n = want < room ? want : room;
		for (size_t i = 0; i < n; i++)
			to[i] = filler ? (char)('a' + i % 26) : (char)take_byte(b);
		if (n)
			log_took(&one, stream, n, clock_boot());
		given += n;
	}
	return given;
}

/* Bytes of output in the file's records, each of which must be whole. */
static uint64_t in_records(const char *text, size_t size, uint64_t *marked)
{
	uint64_t found = 0;
	for (size_t at = 0; at < size;) {
		const char *newline = memchr(text + at, '\n', size - at);
		expect(newline != NULL);
		size_t len = (size_t)(newline - text) - at, head = CLOCK_STAMP + 10;
		const char *line = text + at;
		expect(len >= head && line[CLOCK_STAMP] == ' ' && (!memcmp(line + CLOCK_STAMP + 1, "stdout ", 7) || !memcmp(line + CLOCK_STAMP + 1, "stderr ", 7)));
		char tag = line[CLOCK_STAMP + 8];
		expect((tag == 'F' || tag == 'P') && len - head <= LOG_LINE_MAX);
		/* The container may write what looks like a marker; then the sum below still fits, for it is output. */
		if (*marked && len - head > sizeof MARKER && !memcmp(line + head, MARKER, sizeof MARKER - 1) && strstr(line + head, " bytes of output dropped]\n") == newline - 25)
			*marked = 0;
		else
			found += len - head + (tag == 'F');
		at += len + 1;
	}
	return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[FILE_MAX];
	struct bytes b = { data, size };
	memset(&one, 0, sizeof one);
	one.fd = memfd_create("log", MFD_CLOEXEC);
	expect(one.fd >= 0);
	bool bounded = take_byte(&b) & 1;
	one.max_bytes = bounded ? take_number(&b, 2) : UINT64_MAX;
	uint64_t given = feed(&b);
	log_finish(&one);
	ssize_t n = pread(one.fd, text, sizeof text, 0);
	close(one.fd);
	expect(n >= 0 && (uint64_t)n == one.bytes);
	/* With nothing dropped there is no marker. */
	uint64_t marked = one.dropped, found;
	if (n == (ssize_t)sizeof text)
		return 0;
	found = in_records(text, (size_t)n, &marked);
	/* Without a bound nothing may be lost; with one, output that imitates the marker makes the count ambiguous. */
	if (!bounded)
		expect(one.dropped == 0 && found == given);
	else
		expect(one.dropped <= given);
	return 0;
}
