/*
 * A container's record: the directory ROOT/ID, locked with flock(2) by whoever changes it.
 *
 *   state.json   written before anything is made for the container, and again when its process exists
 *   config.json  the bundle's, as it was at create: `exec` and others go by it, whatever became of the bundle
 *   start.sock   there while the container waits for `start`
 */
#ifndef BERTH_RUNTIME_STATE_H
#define BERTH_RUNTIME_STATE_H

#include <stdint.h>
#include <sys/types.h>

#include "runtime/config.h"

#define STATE_START_SOCKET "start.sock"

enum status { STATUS_CREATING, STATUS_CREATED, STATUS_RUNNING, STATUS_PAUSED, STATUS_STOPPED };

struct state {
	const char *id, *bundle, *rootfs, *cgroups_path, *created, *oci_version;
	pid_t pid;           /* 0: none yet */
	uint64_t start_time; /* of the process, field 22 of /proc/PID/stat: a reused pid has another */
	const struct json *annotations;
	const struct json *hooks; /* of config.json, for those that run after create */
	struct json_doc *doc; /* owns the strings after state_load */
};

/* Letters, digits, '_', '+', '-', '.'; at most 200; neither "." nor "..". */
must_check int state_check_id(const char *id, struct rt_error *err);

/* Makes ROOT/ID and returns its descriptor, locked. EEXIST when the id is taken. */
must_check int state_make(const char *root, const char *id, struct rt_error *err);
/* Opens ROOT/ID, locked (shared unless exclusive). ENOENT when there is no such container. */
must_check int state_open(const char *root, const char *id, bool exclusive, struct rt_error *err);
/* Removes ROOT/ID with what it holds. */
must_check int state_remove(const char *root, const char *id, int dir, struct rt_error *err);

/* Locks a record again that this process has open. 1 when somebody removed it meanwhile. */
must_check int state_lock(int dir, const char *id, struct rt_error *err);

must_check int state_save(int dir, const struct state *s, struct rt_error *err);
/* Keeps the text of config.json, which config_load then reads again from the record's directory. */
must_check int state_save_config(int dir, const struct config *c, struct rt_error *err);
/* Fills *out; a directory that its maker left before writing gives pid 0 and NULLs. */
must_check int state_load(int dir, struct state *out, struct rt_error *err);
void state_free(struct state *s);

/* By the process alone, which is cheap; never PAUSED. */
enum status state_status(int dir, const struct state *s);
/* The same, and PAUSED for a container whose cgroup is frozen. */
enum status state_status_whole(int dir, const struct state *s);
const char *status_name(enum status s);

/* The OCI state (runtime-spec "State") as JSON, the caller's to free; NULL without memory. */
char *state_to_json(const struct state *s, enum status now);

/* Start time of a process; 0 when it is gone or a zombie. */
uint64_t process_start_time(pid_t pid);
/* A pidfd of the container's process, or -ESRCH when it has ended. */
must_check int state_pidfd(const struct state *s);

static inline void state_free_scope(struct state *s)
{
	state_free(s);
}
#define cleanup_state __attribute__((cleanup(state_free_scope)))

#endif
