/*
 * The conversation between the runtime and the container's first process before it becomes the user's program.
 *
 *   runtime -> init   GO      the container is on record, and its id maps are written
 *   init -> runtime   PID     only when a user namespace is joined: the real init's pid, from the process in between
 *   init -> runtime   HOOKS   mounts are in place, nothing is pivoted: createRuntime hooks may run; answered by GO
 *   init -> runtime   READY   nothing is left that can fail but the exec. `run` mostly leaves this and the next one out
 *   runtime -> init   GO      exec now (`run`); after `create` this comes over the start socket instead
 *   init -> runtime   PARKED  only with `park`, which then answers with a claim (claim.h); READY follows
 *   init -> either    ERROR   carries the error; init then exits
 * The exec closes the socket: end of file without an ERROR means that the program runs.
 */
#ifndef BERTH_RUNTIME_SYNC_H
#define BERTH_RUNTIME_SYNC_H

#include <sys/types.h>

#include "common/error.h"

enum sync_kind { SYNC_GO = 1, SYNC_PID, SYNC_HOOKS, SYNC_READY, SYNC_ERROR, SYNC_EOF, SYNC_PARKED };

struct sync_message {
	int kind;
	pid_t pid; /* of init as the runtime sees it: in PID, and in the first GO */
	struct rt_error error;
};

/* A pair of connected SOCK_SEQPACKET sockets. */
must_check int sync_pair(int fds[2], struct rt_error *err);
must_check int sync_send(int fd, enum sync_kind kind, struct rt_error *err);
must_check int sync_send_pid(int fd, enum sync_kind kind, pid_t pid, struct rt_error *err);
/* Reports a set error to the other side; there is nobody else to tell if this fails. */
void sync_send_error(int fd, const struct rt_error *error);
/* Receives one message; SYNC_EOF when the other side is gone. An ERROR is moved into err and returned as its -errno. */
must_check int sync_receive(int fd, struct sync_message *out, struct rt_error *err);
/* Receives exactly `kind`; end of file is ECONNRESET. */
must_check int sync_expect(int fd, enum sync_kind kind, struct sync_message *out, struct rt_error *err);
/* After a failure on this side: an ERROR that has come by now is nearer to the cause, and takes the place of err. Returns the -errno that counts. */
must_check int sync_cause(int fd, int result, struct rt_error *err);

#endif
