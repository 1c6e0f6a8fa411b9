/*
 * The other end of a container's terminal when no engine takes it: this process stands between the terminal (or pipes) it was
 * started in and the container's, as `run` and `exec --tty` in the foreground do.
 */
#ifndef BERTH_RUNTIME_TERMINAL_H
#define BERTH_RUNTIME_TERMINAL_H

#include <stdbool.h>
#include <sys/types.h>

#include "runtime/config.h"

struct terminal {
	int socket; /* on which the master comes; -1: nothing is offered */
};
#define TERMINAL_NONE { .socket = -1 }

/*
 * Makes the socket on which the container's side is to send the master (console.h), and returns its end of it. A process that
 * asks for no size gets that of the terminal this one runs in.
 */
must_check int terminal_offer(struct terminal *t, struct process_spec *p, struct rt_error *err);
static inline bool terminal_is_offered(const struct terminal *t)
{
	return t->socket >= 0;
}

/*
 * Copies between stdin and stdout and the container's terminal until the child `pid` ends, and then what is left of its
 * output. This process's terminal is raw meanwhile, so that keys like ^C reach the container as keys, and its size is the
 * container's. Signals, all blocked by the caller, are handed on. Sets *status as process_wait does. Closes the offer.
 */
must_check int terminal_proxy(struct terminal *t, pid_t pid, int *status, struct rt_error *err);

/* Gives up an offer that nobody took. */
void terminal_close(struct terminal *t);

#endif
