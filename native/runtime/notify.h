/*
 * Readiness, as systemd's services tell it (sd_notify(3)): with NOTIFY_SOCKET in the runtime's environment the container gets a socket of
 * its own, and of all that it says there READY=1 alone goes on to the host's. The container never reaches the host's socket itself,
 * where it could speak for the service about watchdogs, descriptors and the main process.
 */
#ifndef BERTH_RUNTIME_NOTIFY_H
#define BERTH_RUNTIME_NOTIFY_H

#include <stdbool.h>
#include <sys/types.h>

#include "runtime/config.h"
#include "runtime/prepare.h"

/* In the container's state directory: mounted where NOTIFY_SOCKET says, with the socket in it. */
#define NOTIFY_DIR "notify"

/*
 * Adds the mount of the directory to c and its tree to p, and NOTIFY_SOCKET to the program's environment. Nothing without NOTIFY_SOCKET;
 * EINVAL for one that is no absolute path.
 */
must_check int notify_prepare(struct config *c, struct prepared *p, int state_dir, struct rt_error *err);

/* The bound socket, from before the program starts; -1 without error for a container that has no directory for it. */
must_check int notify_listen(int state_dir, int *fd, struct rt_error *err);

/*
 * Waits for READY=1 or the end of process `pid`, and sends READY=1 on to the host's NOTIFY_SOCKET, with MAINPID when the caller does not
 * stay. A host that takes no message is warned of, no error. Closes fd.
 */
void notify_wait(int fd, pid_t pid, bool leaves);

/* The same beside the caller, in a process that ends with it, whose pid it returns; -1 when there is none. Closes fd. */
pid_t notify_wait_beside(int fd, pid_t pid);

/* Removes what notify_prepare and notify_listen left in the state directory. */
void notify_remove(int state_dir);

#endif
