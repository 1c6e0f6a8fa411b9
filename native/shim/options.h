/* The shim's command line. */
#ifndef BERTH_SHIM_OPTIONS_H
#define BERTH_SHIM_OPTIONS_H

#include <stdint.h>

#include "common/error.h"

#define RUNTIME_ARGS_MAX 8
#define OPTIONS_MAX_MS (1000ull * 3600 * 24 * 3650)

struct options {
	const char *id;           /* of the container */
	const char *runtime;      /* absolute path, or a name to find in PATH */
	const char *runtime_root; /* absolute */
	const char *runtime_args[RUNTIME_ARGS_MAX]; /* stand before the verb of each of its commands */
	int runtime_arg_count;
	const char *bundle;       /* absolute */
	const char *dir;          /* absolute */
	const char *cgroup;       /* as in linux.cgroupsPath */
	const char *lease;        /* absolute; NULL: no lease */
	const char *park;         /* "root" or "bare": wait for a claim; NULL: start at once */
	uint64_t timeout_ms;      /* 0: none */
	uint64_t stop_grace_ms;
	uint64_t log_max_bytes;
	int stop_signal;
};

#define OPTIONS_USAGE                                                                                                  \
	"usage: berth-shim --id ID --runtime PATH --runtime-root DIR [--runtime-arg ARG]... --bundle DIR --dir DIR --cgroup CGROUPSPATH "         \
	"[--timeout-ms N] [--stop-grace-ms N] [--stop-signal N] [--log-max-bytes N] [--lease FILE] [--park root|bare]"

/* Reads argv; strings point into it. EINVAL names the option at fault. */
must_check int options_parse(int argc, char **argv, struct options *out, struct rt_error *err);

#endif
