/* A terminal for the container (runtime-spec "process.terminal"; runc's docs/terminals.md). */
#ifndef BERTH_RUNTIME_CONSOLE_H
#define BERTH_RUNTIME_CONSOLE_H

#include "runtime/config.h"

/*
 * Inside, with `root` the container's root directory: opens a pseudo-terminal of the container's own devpts, sized and owned
 * as the process asks, and sends the master over the socket. Returns the other end.
 */
must_check int console_make(const struct process_spec *p, int root, int console_socket, struct rt_error *err);

/* Makes the terminal stdio and the controlling terminal of this process, which leads its session. */
must_check int console_adopt(int terminal, struct rt_error *err);

/*
 * Inside, before the pivot: console_make and console_adopt, and binds the terminal to /dev/console.
 */
must_check int console_open(const struct process_spec *p, int rootfs, int console_socket, struct rt_error *err);

#endif
