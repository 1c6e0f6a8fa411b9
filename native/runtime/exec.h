/* Finding and becoming the container's program. */
#ifndef BERTH_RUNTIME_EXEC_H
#define BERTH_RUNTIME_EXEC_H

#include <limits.h>

#include "runtime/config.h"

struct program {
	char path[PATH_MAX];
	const char **env; /* the process's; with HOME from the container's /etc/passwd, or "/", when it had none */
};

/*
 * Resolves args[0] as execvp(3) does, with the PATH of the container's environment: with a slash it is a path from the
 * working directory; else the first executable file in PATH. ENOENT or EACCES. Runs inside the container, as its user.
 */
must_check int exec_find(const struct process_spec *p, struct program *out, struct rt_error *err);

/* execve(2); returns only on failure. */
must_check int exec_program(const struct process_spec *p, const struct program *program, struct rt_error *err);

#endif
