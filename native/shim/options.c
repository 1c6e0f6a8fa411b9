#include "shim/options.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static int parse_number(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *out, struct rt_error *err)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || value < min || value > max)
		return rt_fail(err, EINVAL, "%s wants a whole number from %llu to %llu, not '%s'", name, (unsigned long long)min, (unsigned long long)max, text);
	*out = value;
	return 0;
}

static int check(const struct options *o, struct rt_error *err)
{
	const struct {
		const char *name, *value;
	} absolute[] = {
		{ "--runtime-root", o->runtime_root }, { "--bundle", o->bundle }, { "--dir", o->dir }, { "--cgroup", o->cgroup }, { "--lease", o->lease ? o->lease : "/" },
	};
	for (size_t i = 0; i < sizeof absolute / sizeof *absolute; i++) {
		if (!absolute[i].value)
			return rt_fail(err, EINVAL, "%s is missing; " OPTIONS_USAGE, absolute[i].name);
		/* The shim leaves the directory it was started in. */
		if (absolute[i].value[0] != '/')
			return rt_fail(err, EINVAL, "%s wants an absolute path", absolute[i].name);
	}
	if (!o->id || !*o->id || *o->id == '-')
		return rt_fail(err, EINVAL, "--id is missing; " OPTIONS_USAGE);
	if (!o->runtime || !*o->runtime)
		return rt_fail(err, EINVAL, "--runtime is missing; " OPTIONS_USAGE);
	if (strchr(o->runtime, '/') && o->runtime[0] != '/')
		return rt_fail(err, EINVAL, "--runtime wants an absolute path or a bare name");
	if (o->park && strcmp(o->park, "root") != 0 && strcmp(o->park, "bare") != 0)
		return rt_fail(err, EINVAL, "--park wants root or bare, not '%s'", o->park);
	return 0;
}

int options_parse(int argc, char **argv, struct options *out, struct rt_error *err)
{
	*out = (struct options){ .stop_grace_ms = 10000, .log_max_bytes = UINT64_MAX, .stop_signal = SIGTERM };
	uint64_t signal_number = SIGTERM;
	const struct {
		const char *name;
		const char **text;
		uint64_t *number, min, max;
	} table[] = {
		{ "--id", &out->id, NULL, 0, 0 },
		{ "--runtime", &out->runtime, NULL, 0, 0 },
		{ "--runtime-root", &out->runtime_root, NULL, 0, 0 },
		{ "--bundle", &out->bundle, NULL, 0, 0 },
		{ "--dir", &out->dir, NULL, 0, 0 },
		{ "--cgroup", &out->cgroup, NULL, 0, 0 },
		{ "--lease", &out->lease, NULL, 0, 0 },
		{ "--park", &out->park, NULL, 0, 0 },
		{ "--timeout-ms", NULL, &out->timeout_ms, 0, OPTIONS_MAX_MS },
		{ "--stop-grace-ms", NULL, &out->stop_grace_ms, 0, OPTIONS_MAX_MS },
		{ "--stop-signal", NULL, &signal_number, 1, 64 },
		{ "--log-max-bytes", NULL, &out->log_max_bytes, 0, UINT64_MAX },
	};
	for (int i = 1; i < argc; i += 2) {
		size_t n = 0;
		if (strcmp(argv[i], "--runtime-arg") == 0 && i + 1 < argc) {
			if (out->runtime_arg_count == RUNTIME_ARGS_MAX)
				return rt_fail(err, EINVAL, "--runtime-arg may be given %d times", RUNTIME_ARGS_MAX);
			out->runtime_args[out->runtime_arg_count++] = argv[i + 1];
			continue;
		}
		while (n < sizeof table / sizeof *table && strcmp(table[n].name, argv[i]) != 0)
			n++;
		if (n == sizeof table / sizeof *table)
			return rt_fail(err, EINVAL, "unknown option '%s'; " OPTIONS_USAGE, argv[i]);
		if (i + 1 == argc)
			return rt_fail(err, EINVAL, "%s wants a value", argv[i]);
		if (table[n].text) {
			*table[n].text = argv[i + 1];
			continue;
		}
		int r = parse_number(argv[i], argv[i + 1], table[n].min, table[n].max, table[n].number, err);
		if (r < 0)
			return r;
	}
	out->stop_signal = (int)signal_number;
	return check(out, err);
}
