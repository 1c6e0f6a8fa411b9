#include "shim/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shim/clock.h"

#define HEADER (CLOCK_STAMP + 10) /* "<stamp> stdout F " */
#define TAG_AT (HEADER - 2)
#define MARKER_MAX (HEADER + 64)
#define RETRY (200 * CLOCK_MS)

static const char *const stream_names[LOG_STREAMS] = { "stdout", "stderr" };

int log_open(struct logfile *log, int dirfd, const char *name, uint64_t max_bytes, struct rt_error *err)
{
	log->max_bytes = max_bytes;
	log->fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	if (log->fd < 0)
		return rt_fail_errno(err, "creating the log");
	return 0;
}

char *log_room(struct logfile *log, enum log_stream stream, size_t *size)
{
	struct log_line *line = &log->lines[stream];
	*size = LOG_LINE_MAX - line->fill;
	return line->bytes + line->fill;
}

/* Forgets the whole records among the buffer's first `written` bytes; the rest of them becomes `skip`. */
static void forget(struct logfile *log, size_t written)
{
	const char *last = memrchr(log->buffer, '\n', written);
	size_t whole = last ? (size_t)(last - log->buffer) + 1 : 0;
	memmove(log->buffer, log->buffer + whole, log->fill - whole);
	log->fill -= whole;
	log->skip = written - whole;
}

void log_flush(struct logfile *log, uint64_t now)
{
	if (now < log->retry_at)
		return;
	log->retry_at = 0;
	while (log->fill > log->skip) {
		ssize_t n = write(log->fd, log->buffer + log->skip, log->fill - log->skip);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			log->retry_at = clock_add(now, RETRY);
			return;
		}
		log->bytes += (uint64_t)n;
		forget(log, log->skip + (size_t)n);
	}
}

uint64_t log_due(const struct logfile *log)
{
	return log->retry_at ? log->retry_at : CLOCK_NEVER;
}

static void put_header(struct logfile *log, const char *stamp, enum log_stream stream, char tag)
{
	char *at = log->buffer + log->fill;
	memcpy(at, stamp, CLOCK_STAMP);
	at[CLOCK_STAMP] = ' ';
	memcpy(at + CLOCK_STAMP + 1, stream_names[stream], 6);
	at[TAG_AT - 1] = ' ';
	at[TAG_AT] = tag;
	at[TAG_AT + 1] = ' ';
	log->fill += HEADER;
}

static void put_marker(struct logfile *log, const char *stamp)
{
	put_header(log, stamp, LOG_STDERR, 'F');
	log->fill += (size_t)snprintf(log->buffer + log->fill, MARKER_MAX - HEADER, "[berth: %llu bytes of output dropped]\n", (unsigned long long)log->unmarked);
	log->unmarked = 0;
}

static void put(struct logfile *log, const char *stamp, enum log_stream stream, char tag, const char *bytes, size_t len, uint64_t now)
{
	size_t size = HEADER + len + 1 + (log->unmarked ? MARKER_MAX : 0);
	if (log->bytes + (log->fill - log->skip) + size > log->max_bytes)
		log->full = true;
	if (!log->full && log->fill + size > sizeof log->buffer)
		log_flush(log, now);
	if (log->full || log->fill + size > sizeof log->buffer) {
		uint64_t output = len + (tag == 'F');
		log->dropped += output;
		log->unmarked += output;
		return;
	}
	if (log->unmarked)
		put_marker(log, stamp);
	put_header(log, stamp, stream, tag);
	memcpy(log->buffer + log->fill, bytes, len);
	log->buffer[log->fill + len] = '\n';
	log->fill += len + 1;
}

void log_took(struct logfile *log, enum log_stream stream, size_t n, uint64_t now)
{
	struct log_line *line = &log->lines[stream];
	char stamp[CLOCK_STAMP + 1];
	clock_stamp(stamp);
	size_t from = 0, scan = line->fill, end = line->fill + n;
	const char *newline;
	while ((newline = memchr(line->bytes + scan, '\n', end - scan))) {
		size_t at = (size_t)(newline - line->bytes);
		put(log, stamp, stream, 'F', line->bytes + from, at - from, now);
		from = scan = at + 1;
	}
	if (end - from == LOG_LINE_MAX) {
		put(log, stamp, stream, 'P', line->bytes + from, end - from, now);
		from = end;
	}
	line->fill = end - from;
	memmove(line->bytes, line->bytes + from, line->fill);
	log_flush(log, now);
}

/* Gives up what is still buffered: the file ends with its last whole record. */
static void abandon(struct logfile *log)
{
	if (log->skip && ftruncate(log->fd, (off_t)(log->bytes - log->skip)) == 0)
		log->bytes -= log->skip;
	for (size_t at = 0; at < log->fill;) {
		const char *newline = memchr(log->buffer + at, '\n', log->fill - at);
		size_t end = (size_t)(newline - log->buffer);
		log->dropped += end - at - HEADER + (log->buffer[at + TAG_AT] == 'F');
		at = end + 1;
	}
	log->fill = log->skip = 0;
}

void log_finish(struct logfile *log)
{
	char stamp[CLOCK_STAMP + 1];
	clock_stamp(stamp);
	uint64_t now = clock_boot();
	log->retry_at = 0;
	for (enum log_stream s = 0; s < LOG_STREAMS; s++) {
		if (log->lines[s].fill)
			put(log, stamp, s, 'P', log->lines[s].bytes, log->lines[s].fill, now);
		log->lines[s].fill = 0;
	}
	log_flush(log, now);
	if (log->unmarked && log->fill + MARKER_MAX <= sizeof log->buffer) {
		put_marker(log, stamp);
		log->retry_at = 0;
		log_flush(log, now);
	}
	if (log->fill)
		abandon(log);
	/* Before the exit record, which states the log's length. Should it fail, the record still goes out: it is worth more. */
	if (log->bytes)
		fdatasync(log->fd);
}
