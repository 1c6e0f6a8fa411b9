/*
 * The container's side of `exec`: from a clone of the runtime to a program inside.
 *
 * Two processes. The first stays outside the container's pid namespace, so nothing inside can see or trace it; it joins the
 * namespaces, lets go of the host, and takes on the user. Its child, the runtime's too by CLONE_PARENT, is born into the pid
 * namespace and has nothing left to do that the program could not. Only where a seccomp filter must be loaded with
 * privileges (no no_new_privs) does the child still hold them for a moment, since the filter might bar the clone.
 *
 * The conversation, in the terms of sync.h: the runtime says GO when the first is in the container's cgroup; it answers PID
 * with its child's; the runtime says GO; the child says READY; the runtime sets its limits and says GO; the exec ends it.
 */
#ifndef BERTH_RUNTIME_EXEC_JOIN_H
#define BERTH_RUNTIME_EXEC_JOIN_H

#include "runtime/config.h"
#include "runtime/seccomp.h"
#include "runtime/state.h"

struct join_args {
	const struct config *config;          /* whose process is the one to run */
	const struct state *state;            /* of the container, for the seccomp listener */
	const struct seccomp_filter *filter;  /* NULL: none */
	int init;                             /* pidfd of the container's process */
	unsigned namespaces;                  /* 1 << ns_kind: which to join */
	int console_socket;                   /* where the terminal goes; -1 */
	int sync_fd;
	int preserve_fds;
};

/* Never returns: becomes the program, or reports why not and exits. */
_Noreturn void join_main(struct join_args *a);

#endif
