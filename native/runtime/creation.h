/* A container in the making, as `create`, `run` and `park` share it. */
#ifndef BERTH_RUNTIME_CREATION_H
#define BERTH_RUNTIME_CREATION_H

#include <limits.h>

#include "runtime/container.h"
#include "runtime/init.h"
#include "runtime/seccomp-notify.h"
#include "runtime/terminal.h"

struct creation {
	const struct container_options *options;
	struct config config;
	struct prepared prepared;
	struct cgroups cgroups;
	struct seccomp_filter filter;
	struct seccomp_listener listener;
	struct init_args init;
	struct state state;
	char bundle[PATH_MAX], rootfs[PATH_MAX], cgroups_path[PATH_MAX], created[40];
	int listeners;  /* descriptors from 3 on that LISTEN_FDS counts; they come before the preserved ones */
	int state_dir;  /* locked */
	int sync_fd;    /* this side's end */
	int notify_fd;  /* of `run`: where the program says that it is ready; -1: nobody asked */
	struct terminal terminal; /* of `run` in the foreground */
	enum init_park park;
	bool has_state, has_cgroup, has_pid_file;
};

#define CREATION_OF(o) \
	{ .options = (o), .state_dir = -1, .sync_fd = -1, .notify_fd = -1, .cgroups.v2_fd = -1, .listener = SECCOMP_LISTENER_NONE, .terminal = TERMINAL_NONE }

/* Makes everything up to where init waits: for `start`, for READY's answer, or parked. What was made before a failure is creation_undo's to remove. */
must_check int creation_make(struct creation *n, bool wait_for_start, struct rt_error *err);

/* Sets *rootfs to the absolute path of the config's root file system. */
must_check int creation_root_path(const struct creation *n, const struct config *c, char rootfs[PATH_MAX], struct rt_error *err);

/* Puts on record what is known, the container's process by its pid (0: none yet). */
must_check int creation_save(struct creation *n, pid_t pid, struct rt_error *err);

/* From init's READY on: the rest that it cannot give itself. Its GO is the caller's to send. */
must_check int creation_finish(struct creation *n, struct rt_error *err);

/* Removes all that was made, init included. */
void creation_undo(struct creation *n);

/* Frees what this process holds of it. */
void creation_release(struct creation *n);

#endif
