/* berth-runtime: the command line of an OCI runtime, as runc's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/log.h"
#include "runtime/options.h"
#include "runtime/rootless.h"
#include "runtime/version.h"

#define DEFAULT_ROOT "/run/berth/runtime"

static int check_globals(const struct container_options *o, struct rt_error *err)
{
	const char *format = o->log_format, *rootless = o->rootless;
	if (format && strcmp(format, "json") && strcmp(format, "text"))
		return rt_fail(err, EINVAL, "unknown log format %s", format);
	if (rootless && strcmp(rootless, "auto") && strcmp(rootless, "true") && strcmp(rootless, "false"))
		return rt_fail(err, EINVAL, "--rootless is auto, true or false, not \"%s\"", rootless);
	if (o->cgroup_manager && strcmp(o->cgroup_manager, "cgroupfs"))
		return rt_fail(err, ENOTSUP, "--cgroup-manager %s: cgroups are made here by file, as with cgroupfs", o->cgroup_manager);
	if (o->systemd_cgroup)
		return rt_fail(err, ENOTSUP, "--systemd-cgroup: cgroups are made without systemd; leave it out, and give a path as linux.cgroupsPath");
	return 0;
}

/* The id goes to its place; what follows stays in args. */
static int take_operands(const struct command_def *c, struct container_options *o, struct rt_error *err)
{
	int count = (int)o->args.count;
	if (count < c->min)
		return rt_fail(err, EINVAL, c->min == 1 ? "%s needs a container id" : "%s needs more arguments", c->name);
	if (c->max >= 0 && count > c->max)
		return rt_fail(err, EINVAL, "%s: too many arguments", c->name);
	if (count == 0)
		return 0;
	o->id = o->args.at[0];
	memmove(o->args.at, o->args.at + 1, o->args.count * sizeof *o->args.at);
	o->args.count--;
	return 0;
}

static int print_version(void)
{
	printf("berth-runtime version " BERTH_RUNTIME_VERSION "\ncommit: %s\nspec: " OCI_VERSION "\n", runtime_commit);
	return 0;
}

static int print_help(const char *name, struct rt_error *err)
{
	const struct command_def *c = name ? command_find(name) : NULL;
	if (name && !c)
		return rt_fail(err, EINVAL, "unknown command %s", name);
	options_print_help(c, stdout);
	return 0;
}

static int run_command(const struct command_def *c, int i, int argc, char **argv, struct container_options *o, int *status, struct rt_error *err)
{
	int r = options_parse(c->options, c->max < 0 ? OPTIONS_REST : OPTIONS_ALL, i, argc, argv, o, err);
	if (r < 0) {
		rt_prefix(err, "%s", c->name);
		return r;
	}
	if (o->help)
		return print_help(c->name, err);
	if ((r = take_operands(c, o, err)) < 0)
		return r;
	log_debug("%s %s", c->name, o->id ? o->id : "");
	return c->run(o, status, err);
}

/* `failure` is what a caller of the command expects as the exit status of a failure. */
static int run(int argc, char **argv, struct container_options *o, int *status, int *failure, struct rt_error *err)
{
	int i = options_parse(global_options, OPTIONS_OPERAND, 1, argc, argv, o, err);
	/* Where to complain is known before it is known whether the rest makes sense. */
	log_to(o->log, o->log_format && !strcmp(o->log_format, "json"), o->debug);
	if (i < 0 || check_globals(o, err) < 0)
		return -err->code;
	if (o->version)
		return print_version();
	if (o->help || (i < argc && !strcmp(argv[i], "help")))
		return print_help(i + 1 < argc ? argv[i + 1] : NULL, err);
	if (i == argc)
		return rt_fail(err, EINVAL, "usage: berth-runtime [options] COMMAND ...; --help lists both");
	const struct command_def *c = command_find(argv[i]);
	if (!c)
		return rt_fail(err, EINVAL, "unknown command %s", argv[i]);
	*failure = c->failure;
	return run_command(c, i + 1, argc, argv, o, status, err);
}

int main(int argc, char **argv)
{
	struct container_options o = { .argv = argv, .root = geteuid() == 0 ? DEFAULT_ROOT : rootless_state_root(), .bundle = "." };
	struct rt_error err = { 0 };
	int status = 0, failure = 1;
	/* A careful caller's umask must not close the container's cgroup to the container's own root. */
	umask(022);
	if (run(argc, argv, &o, &status, &failure, &err) < 0) {
		char message[RT_ERROR_TEXT + 128];
		rt_error_message(&err, message, sizeof message);
		log_error(message);
		status = failure;
	}
	options_free(&o);
	return status;
}
