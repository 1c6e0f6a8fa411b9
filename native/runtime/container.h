/* The OCI operations (runtime-spec "Lifecycle"). */
#ifndef BERTH_RUNTIME_CONTAINER_H
#define BERTH_RUNTIME_CONTAINER_H

#include <stdbool.h>

#include "common/error.h"

struct container_options {
	char **argv;               /* of this process, to run again with */
	const char *root, *id;     /* state directory, container */
	const char *bundle;        /* create, run */
	const char *pid_file;
	const char *console_socket;
	int preserve_fds;
	bool detach;               /* run */
	bool force;                /* delete */
	bool all;                  /* kill */
	int signal;
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

#endif
