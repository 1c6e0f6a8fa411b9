/* The unix sockets on which an engine waits for a descriptor: --console-socket and --pidfd-socket. */
#ifndef BERTH_RUNTIME_ENGINE_SOCKET_H
#define BERTH_RUNTIME_ENGINE_SOCKET_H

#include <sys/types.h>

#include "common/error.h"

/* Connects to the stream socket at path, on the host's side; `what` names it in errors. */
must_check int engine_connect(const char *path, const char *what, struct rt_error *err);

/* Sends fd with `name` for its text. */
must_check int engine_send(int sock, int fd, const char *name, const char *what, struct rt_error *err);

/* Connects, and sends a pidfd of process `pid`, which the caller has not reaped. */
must_check int engine_send_pidfd(const char *path, pid_t pid, struct rt_error *err);

#endif
