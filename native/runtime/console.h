/* A terminal for the container (runtime-spec "process.terminal"; runc's docs/terminals.md). */
#ifndef BERTH_RUNTIME_CONSOLE_H
#define BERTH_RUNTIME_CONSOLE_H

#include "runtime/config.h"

/* Connects to the engine's socket, on the host's side. */
must_check int console_connect(const char *path, struct rt_error *err);

/*
 * Inside, before the pivot: opens a pseudo-terminal of the container's own devpts below `rootfs`, sends the master to the
 * engine, makes the other end stdio and the controlling terminal, and binds it to /dev/console.
 */
must_check int console_open(const struct process_spec *p, int rootfs, int console_socket, struct rt_error *err);

#endif
