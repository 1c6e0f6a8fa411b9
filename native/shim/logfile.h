/*
 * A container's output as a file in the CRI log format: one record a line,
 *
 *     <RFC 3339 ns UTC> stdout|stderr F|P <bytes>\n
 *
 * Output is bytes, not text: everything but the newline stands in the record as it came. P says that the line goes on in the
 * stream's next record, or that the output ended without a newline; so the records of a stream, with a newline after each F,
 * are exactly its bytes.
 *
 * Writing never waits for room. What the file does not take stays in a bounded buffer; what that does not take is dropped and
 * counted, and a record of its own names the gap: `stderr F [berth: N bytes of output dropped]`. At the file's limit
 * dropping is for good, so the log is a gap-free prefix. Memory is fixed and touched only as far as used.
 */
#ifndef BERTH_SHIM_LOGFILE_H
#define BERTH_SHIM_LOGFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define LOG_LINE_MAX 16384 /* bytes of output in one record */
#define LOG_BUFFER 65536

enum log_stream { LOG_STDOUT, LOG_STDERR, LOG_STREAMS };

struct log_line {
	size_t fill;
	char bytes[LOG_LINE_MAX];
};

struct logfile {
	int fd;
	uint64_t max_bytes; /* of the file, but for the last marker */
	uint64_t bytes;     /* in the file now */
	uint64_t dropped;   /* bytes of output that are in no record */
	uint64_t unmarked;  /* of those, not yet named by a marker */
	bool full;          /* max_bytes was reached */
	uint64_t retry_at;  /* CLOCK_BOOTTIME ns of the next attempt after a failed write; 0: none failed */
	size_t fill;        /* of the buffer, which starts at the start of a record */
	size_t skip;        /* bytes of the buffer that are in the file already */
	struct log_line lines[LOG_STREAMS];
	char buffer[LOG_BUFFER];
};

/* Creates `name` in dirfd, 0600. EEXIST when it is there: a directory records one container. */
must_check int log_open(struct logfile *log, int dirfd, const char *name, uint64_t max_bytes, struct rt_error *err);

/* Where to read the stream's next bytes to; *size is at least 1. */
char *log_room(struct logfile *log, enum log_stream stream, size_t *size);

/* Takes n bytes that were read there. `now` is CLOCK_BOOTTIME ns. */
void log_took(struct logfile *log, enum log_stream stream, size_t n, uint64_t now);

/* Tries to write what is buffered, unless a write failed a moment ago. */
void log_flush(struct logfile *log, uint64_t now);

/* When log_flush should be called although no output comes; CLOCK_NEVER when nothing waits. */
uint64_t log_due(const struct logfile *log);

/* Ends the log: unfinished lines, the marker, a last write, fdatasync. What cannot be written counts as dropped; no record is torn. */
void log_finish(struct logfile *log);

#endif
