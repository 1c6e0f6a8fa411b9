/* The OCI operations (runtime-spec "Lifecycle"), and what runc's users know besides. */
#ifndef BERTH_RUNTIME_CONTAINER_H
#define BERTH_RUNTIME_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

/* Words of the command line; at[count] is NULL once there is one. */
struct text_list {
	const char **at;
	size_t count;
};

/* The command line, read. What a command does not know stays zero. */
struct container_options {
	char **argv;               /* of this process, to run again with */
	const char *root;          /* state directory */
	const char *log, *log_format, *rootless, *criu;
	bool debug, systemd_cgroup, version, help;
	struct text_list args;     /* operands; of exec and ps, what follows the container's id */

	const char *id;
	const char *bundle;        /* create, run, spec */
	const char *pid_file;      /* create, run, exec */
	const char *console_socket;
	int preserve_fds;
	bool no_pivot, no_new_keyring; /* create, run */
	bool detach;               /* run, exec */
	bool keep;                 /* run */
	bool force;                /* delete */
	bool all;                  /* kill */
	int signal;

	const char *process_file, *cwd, *user, *process_label, *apparmor; /* exec */
	struct text_list env, groups, caps, subcgroups;
	bool tty, no_new_privs, ignore_paused;
};

/* Makes the container, up to the point where only `start` is missing. On failure nothing stays. */
must_check int container_create(const struct container_options *o, struct rt_error *err);
/* create and start; unless detached, waits, deletes, and gives the exit status (128 + signal when killed). */
must_check int container_run(const struct container_options *o, int *status, struct rt_error *err);
/* Lets a created container go. Returns when its program runs, or with the reason why it does not. */
must_check int container_start(const struct container_options *o, struct rt_error *err);
/* Writes the OCI state as JSON to stdout. */
must_check int container_state(const struct container_options *o, struct rt_error *err);
must_check int container_kill(const struct container_options *o, struct rt_error *err);
/* Removes a stopped container, or with `force` any; the latter finds nothing to do for one that is gone. */
must_check int container_delete(const struct container_options *o, struct rt_error *err);
/* Runs another process in a container that is created or running; unless detached, waits and gives its exit status. */
must_check int container_exec(const struct container_options *o, int *status, struct rt_error *err);

#endif
