/*
 * The programs that the launcher has started: each a child with its own session, /dev/null as its input, and pipes for what it says.
 */
#ifndef BERTH_LAUNCHER_CHILD_H
#define BERTH_LAUNCHER_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

#define CHILDREN_MAX 64
#define SAID_MAX 16384 /* bytes kept of each stream; what goes beyond is read and dropped */

struct child {
	pid_t pid;       /* 0: this place is free */
	bool ended;
	int status;      /* as of waitpid, once ended */
	int client;      /* who asked; -1: nobody waits for it any more */
	int64_t request;
	int from[2];     /* its stdout and stderr; -1: closed */
	char *said[2];   /* SAID_MAX bytes each, made when it first says something */
	size_t length[2];
};

/*
 * Starts PROGRAM (an absolute path) with argv. The caller's table has a free place. Nothing of the launcher's reaches the child but its environment. On
 * failure nothing is left.
 */
must_check int child_start(struct child *c, const char *program, char *const argv[], struct rt_error *err);

/* Reads what a stream has to say, after poll(2) said that there is something; closes it at its end. */
void child_listen(struct child *c, int stream);

/* Frees the place of a child that has ended. */
void child_clear(struct child *c);

#endif
