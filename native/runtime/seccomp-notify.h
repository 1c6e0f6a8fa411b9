/*
 * SCMP_ACT_NOTIFY: syscalls that another program decides on (seccomp_unotify(2); runtime-spec "Seccomp").
 *
 * The program listens on linux.seccomp.listenerPath, a socket on the host. It gets one message for each process that the
 * runtime starts: the ContainerProcessState as JSON, with the notification descriptor beside it.
 */
#ifndef BERTH_RUNTIME_SECCOMP_NOTIFY_H
#define BERTH_RUNTIME_SECCOMP_NOTIFY_H

#include <sys/types.h>

#include "runtime/seccomp.h"

struct seccomp_listener {
	int socket;    /* connected; -1: closed, or never opened */
	char *message; /* what goes with the descriptor; NULL until seccomp_listener_describe */
};

#define SECCOMP_LISTENER_NONE { .socket = -1 }

/*
 * When the filter notifies, connects to listenerPath and makes *out the filter's listener. On the host's side: the path is the
 * host's. EINVAL when the filter notifies and there is no listenerPath.
 */
must_check int seccomp_listener_connect(const struct json *seccomp, struct seccomp_filter *f, struct seccomp_listener *out, struct rt_error *err);

/* Says who will load the filter: process `pid` of the host's, of the container whose OCI state is `state_json`. */
must_check int seccomp_listener_describe(struct seccomp_listener *l, const struct json *seccomp, const char *state_json, pid_t pid, struct rt_error *err);

void seccomp_listener_release(struct seccomp_listener *l);

/* seccomp_load for a filter with a listener: the descriptor is with the listener when this returns. */
must_check int seccomp_load_notifying(const struct seccomp_filter *f, struct rt_error *err);

#endif
