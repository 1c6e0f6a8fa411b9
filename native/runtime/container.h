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

/* Of `update`: each as it was written, NULL when it was not. */
struct update_options {
	const char *resources;
	const char *memory, *memory_reservation, *memory_swap;
	const char *blkio_weight, *cpu_period, *cpu_quota, *cpu_burst, *cpu_share, *cpu_rt_period, *cpu_rt_runtime, *cpu_idle, *pids_limit;
	const char *cpuset_cpus, *cpuset_mems;
	const char *l3_cache, *memory_bandwidth, *kernel_memory, *kernel_memory_tcp;
};

/* The command line, read. What a command does not know stays zero. */
struct container_options {
	char **argv;               /* of this process, to run again with */
	const char *root;          /* state directory */
	const char *log, *log_format, *rootless, *criu, *cgroup_manager;
	bool debug, systemd_cgroup, version, help;
	struct text_list args;     /* operands; of exec and ps, what follows the container's id */

	const char *id;
	const char *bundle;        /* create, run, spec */
	const char *config;        /* create, run: below the bundle; default config.json */
	const char *pid_file;      /* create, run, exec */
	const char *console_socket;
	const char *pidfd_socket;
	int preserve_fds;
	bool no_pivot, no_new_keyring; /* create, run */
	bool detach;               /* run, exec */
	bool keep;                 /* run */
	int claim;                 /* park: a descriptor */
	bool bare;                 /* park */
	bool force, regex;         /* delete */
	bool all;                  /* kill */
	int signal;

	const char *process_file, *cwd, *user, *process_label, *apparmor; /* exec */
	struct text_list env, groups, caps, subcgroups;
	bool tty, no_new_privs, ignore_paused;

	const char *format;        /* list, ps */
	bool quiet;                /* list */
	const char *interval;      /* events */
	bool stats;
	bool rootless_spec;        /* spec */
	struct update_options update;
};

/* Makes the container, up to the point where only `start` is missing. On failure nothing stays. */
must_check int container_create(const struct container_options *o, struct rt_error *err);
/* create and start; unless detached, waits, deletes, and gives the exit status (128 + signal when killed). */
must_check int container_run(const struct container_options *o, int *status, struct rt_error *err);
/*
 * Makes a container ahead of knowing what it will run, and waits. `claim` is a stream socket: 'P' goes out when the container waits; a 'C' that comes in claims it
 * for the config.json that is in the bundle by then, which may differ from the first in what claim.h lists, and its program runs when this returns. The end of
 * the stream, or of the waiting process, removes the container. With `bare` it waits with its namespaces and cgroup alone, and takes limits, root and mounts from the claim.
 */
must_check int container_park(const struct container_options *o, struct rt_error *err);
/* Lets a created container go. Returns when its program runs, or with the reason why it does not. */
must_check int container_start(const struct container_options *o, struct rt_error *err);
/* Writes the OCI state as JSON to stdout. */
must_check int container_state(const struct container_options *o, struct rt_error *err);
must_check int container_kill(const struct container_options *o, struct rt_error *err);
/* Removes a stopped container, or with `force` any; the latter finds nothing to do for one that is gone. */
must_check int container_delete(const struct container_options *o, struct rt_error *err);
/* container_delete for every container whose id the POSIX extended expression o->id matches; what fails is a warning, and an error at the end. */
must_check int container_delete_matching(const struct container_options *o, struct rt_error *err);
/* Runs another process in a container that is created or running; unless detached, waits and gives its exit status. */
must_check int container_exec(const struct container_options *o, int *status, struct rt_error *err);

/* Freezes a running container, and returns when no process of it runs any more. */
must_check int container_pause(const struct container_options *o, struct rt_error *err);
must_check int container_resume(const struct container_options *o, struct rt_error *err);
/* Prints what is below `root`: a table, JSON or, with `quiet`, the ids. */
must_check int container_list(const struct container_options *o, struct rt_error *err);
/* Prints the container's processes: the host's pids as JSON, or their lines of the host's ps. */
must_check int container_ps(const struct container_options *o, struct rt_error *err);
/* Changes limits; when one is refused, all stay as they were. */
must_check int container_update(const struct container_options *o, struct rt_error *err);

/* Prints statistics once, or time and again with each out-of-memory kill, a JSON object a line, until the container ends. */
must_check int container_events(const struct container_options *o, struct rt_error *err);
/* Prints what this runtime knows, as runtime-spec "Features Structure". */
must_check int runtime_features(const struct container_options *o, struct rt_error *err);
/* Writes a config.json to start from into the bundle. */
must_check int runtime_spec(const struct container_options *o, struct rt_error *err);

#endif
