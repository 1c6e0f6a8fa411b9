/* The files by which a shim tells of itself and of its container's end. */
#ifndef BERTH_SHIM_RECORD_H
#define BERTH_SHIM_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cgroup.h"
#include "common/error.h"
#include "shim/clock.h"

#define RECORD_MAX 1024

enum stop_cause { STOP_NONE, STOP_REQUEST, STOP_TIMEOUT, STOP_LEASE };

/* What became of a container. Times of day as clock_stamp writes them. */
struct exit_record {
	int status; /* as wait(2) gives it */
	enum stop_cause stopped_by;
	char started_at[CLOCK_STAMP + 1], finished_at[CLOCK_STAMP + 1];
	uint64_t oom_kills, peak_memory_bytes, cpu_time_us; /* CG_UNKNOWN: null */
	struct cg_spent spent;
	uint64_t log_bytes, log_dropped_bytes;
};

/* Writes shim.json: this process's pid and start time (field 22 of /proc/self/stat, which tells it from a later owner of the pid). */
must_check int record_shim(int dirfd, struct rt_error *err);

/* Takes the disk space for exit.json now, so that a full disk cannot keep the record from being written. */
must_check int record_reserve(int dirfd, struct rt_error *err);

/* The record as one line of JSON, without newline. Returns its length. */
size_t record_format(const struct exit_record *record, char out[RECORD_MAX]);

/* Makes the text exit.json, in the reserved space, durably. Returns 0 or -errno. */
must_check int record_commit(int dirfd, const char *text, size_t len);

/* Removes what the shim wrote there and nobody needs any more; with `all`, everything it wrote. */
void record_clean(int dirfd, bool all);

#endif
