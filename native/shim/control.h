/*
 * The shim's socket: newline-delimited JSON, one answer a request, as docs/contracts.md lists them. The directory's mode
 * decides who may connect. A connection stays open until its client closes it or the shim ends; that end tells a client that
 * the cgroup is gone too. Memory is fixed: too many connections wait in the backlog, a client that does not read its answers is cut off.
 */
#ifndef BERTH_SHIM_CONTROL_H
#define BERTH_SHIM_CONTROL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

#define CONTROL_CONNECTIONS 8
#define CONTROL_POLL_MAX (CONTROL_CONNECTIONS + 1)
#define CONTROL_REQUEST_MAX 256

struct shim;

struct connection {
	int fd; /* -1: free */
	bool waiting;
	bool holds, claims; /* a parked container */
	bool overlong; /* the line under way is longer than any request, and its start is gone */
	size_t fill;
	char bytes[CONTROL_REQUEST_MAX];
};

struct control {
	int listen_fd;
	struct connection connections[CONTROL_CONNECTIONS];
};

/* Listens at dirfd/shim.sock. Connections queue until they are served. */
must_check int control_open(struct control *c, int dirfd, struct rt_error *err);

/* Fills in what to poll, at most CONTROL_POLL_MAX. Returns how many. */
size_t control_poll(const struct control *c, struct pollfd *fds);

/* Serves what poll found. */
void control_serve(struct control *c, struct shim *s, const struct pollfd *fds, size_t count);

/* Whether the connection that holds a parked container is still there. */
bool control_is_held(const struct control *c);

/* Answers the claim of a parked container. */
void control_tell_claim(struct control *c, const char *text);

/* Sends the exit record to everyone who waits for it. */
void control_tell(struct control *c, const char *end_text);

#endif
