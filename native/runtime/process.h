/* A container's process as the runtime on the host's side sees it: its stdio, limits, pid file and end. */
#ifndef BERTH_RUNTIME_PROCESS_H
#define BERTH_RUNTIME_PROCESS_H

#include <sys/types.h>

#include "runtime/config.h"

/*
 * Gives stdio that are pipes to the host id of c->process's user, who may then open them again by /dev/stdout, as programs
 * do. What has a name on the host stays whose it is.
 */
void process_own_stdio(const struct config *c);

/*
 * The sockets that a service manager handed over (sd_listen_fds(3): LISTEN_FDS of them from 3 on, for LISTEN_PID) are the program's, which is
 * pid 1 to itself: adds their number to *preserve_fds, and tells c->process's environment.
 */
must_check int process_take_listen_fds(struct config *c, int *preserve_fds, struct rt_error *err);

/* EINVAL without a program to run: only `create` can do without config.json's process. */
must_check int process_check_given(const struct process_spec *p, struct rt_error *err);

/* Writes oomScoreAdj, when there is one. */
must_check int process_set_oom_score(const struct process_spec *p, pid_t pid, struct rt_error *err);

/*
 * Sets the rlimits of a process, or with pid 0 of this one. From outside, where the right to raise them is, and last: the runtime's
 * own work inside is not bound by them.
 */
must_check int process_set_rlimits(const struct config *c, pid_t pid, struct rt_error *err);

/* Whether a hard limit goes beyond this process's own, so that only a privileged process can set it. */
bool process_raises_rlimits(const struct process_spec *p);

/* Creates or replaces the file at `path` with the pid in decimal. */
must_check int process_write_pid_file(const char *path, pid_t pid, struct rt_error *err);

/*
 * Waits for the child `pid` and hands on the signals that this process gets meanwhile; the caller has blocked them all.
 * Sets *status as a shell does: the exit status, or 128 and the signal.
 */
must_check int process_wait(pid_t pid, int *status, struct rt_error *err);

#endif
