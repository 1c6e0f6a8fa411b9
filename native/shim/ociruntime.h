/*
 * The OCI runtime as a child process. Any runtime with runc's command line will do. Each command is started here and reaped
 * by the caller, who has other things to watch meanwhile.
 */
#ifndef BERTH_SHIM_OCIRUNTIME_H
#define BERTH_SHIM_OCIRUNTIME_H

#include <sys/types.h>

#include "common/error.h"
#include "shim/options.h"

/* Names in the shim's directory. */
#define OCI_LOG "runtime.log"
#define OCI_PID "container.pid"

enum oci_verb { OCI_CREATE, OCI_START, OCI_DELETE, OCI_PARK };

/*
 * Starts the runtime's command. With OCI_CREATE and OCI_PARK the two descriptors become the container's stdout and stderr, and are given to
 * the host uid of the container's user so that it may open /dev/stdout; otherwise they are -1 and output goes nowhere: what the runtime
 * has to say it writes to OCI_LOG. With OCI_PARK it has claim_fd besides, else -1. Returns the child's pid.
 */
must_check pid_t oci_spawn(const struct options *opt, enum oci_verb verb, int out_fd, int err_fd, int claim_fd, struct rt_error *err);

/* The pid that `create` wrote. */
must_check int oci_read_pid(int dirfd, pid_t *out, struct rt_error *err);

/* Sets err to the last error that the runtime logged, or when there is none to `fallback`. */
void oci_blame(int dirfd, const char *fallback, struct rt_error *err);

/* "create", "start", "delete", "park". */
const char *oci_verb_name(enum oci_verb verb);

#endif
