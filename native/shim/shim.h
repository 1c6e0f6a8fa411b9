/*
 * A shim: the one process that stays with a container for its whole life, so that its agent need not.
 *
 * One thread, one loop. shim_run tells the story of a life in order; between two of its lines it calls the loop (loop.h), which
 * moves output, reaps, keeps the deadlines and answers the socket until the line's condition holds.
 *
 * Promises, each with a test:
 *   - it depends on no other process: it leaves its caller's session, directory and descriptors, and ignores every signal it can;
 *   - output never holds the container up, and costs fixed memory (logfile.h);
 *   - exit.json is on the disk before anyone is told of the end;
 *   - timeout, stop and lease end in SIGKILL for the whole container;
 *   - it ends, and nothing of the container is left: processes, cgroup, the runtime's state.
 */
#ifndef BERTH_SHIM_SHIM_H
#define BERTH_SHIM_SHIM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "shim/control.h"
#include "shim/logfile.h"
#include "shim/ociruntime.h"
#include "shim/options.h"
#include "shim/record.h"

/* Room for any error, whose bytes may each become a replacement character of three. */
#define REPORT_MAX 4096

struct shim {
	const struct options *opt;
	int dirfd;      /* --dir */
	int signal_fd;  /* SIGCHLD */
	int timer_fd;   /* CLOCK_BOOTTIME */
	int output[LOG_STREAMS]; /* read ends; -1 at their end */
	const uint64_t *lease;   /* mapped; NULL: none */
	bool lease_over;         /* it ran out and has had its effect */

	struct options own_options; /* those of a claim */
	int claim_fd;         /* to the runtime with which a container is parked; -1 */
	int runtime_claim_fd; /* its end, while it is being started; -1 */
	bool parked;          /* a container waits for a claim */
	bool held, claimed;   /* somebody has said so */

	pid_t runtime;       /* the OCI runtime's command under way; 0: none */
	int runtime_status;  /* of the last one */

	pid_t pid;      /* the container's first process; 0: not known yet */
	bool started;   /* `start` succeeded: stops may begin */
	bool exited;    /* reaped; end.status and end.finished_at are set */
	uint64_t timeout_at;  /* CLOCK_BOOTTIME ns, as the next two */
	uint64_t kill_at;     /* when a stop turns to SIGKILL */
	struct exit_record end;
	char end_text[RECORD_MAX]; /* what exit.json holds, once it does; empty before */

	struct control control;
	struct logfile log;
};

/*
 * Lives a container's life. report_fd gets one byte, '0' or '1' (started or not), and one line of JSON of at most REPORT_MAX
 * bytes in all, and is closed then.
 * Returns the shim's own exit status. To be called in a process that has detached already.
 */
int shim_run(struct shim *s, const struct options *opt, int report_fd);

/* Longest time for a command of the runtime. */
#define SHIM_COMMAND_LIMIT (60 * CLOCK_SECOND)

/* Starts a command of the runtime; the descriptors of a container's output are closed here. */
must_check int shim_start_runtime(struct shim *s, enum oci_verb verb, int out_fd, int err_fd, struct rt_error *err);
/* Waits for its end, at most so many nanoseconds. A failure that it gives the reason for leaves err empty. */
must_check int shim_end_runtime(struct shim *s, enum oci_verb verb, uint64_t limit, struct rt_error *err);

/* The moment of the start: deadlines count and requests are served from here on. EPROTO when the lease is over. */
must_check int shim_begin(struct shim *s, struct rt_error *err);

/* Begins to stop the container, or hurries a stop that has begun: the earlier SIGKILL counts, and the first cause. */
void shim_stop(struct shim *s, enum stop_cause cause, uint64_t grace_ms);

#endif
