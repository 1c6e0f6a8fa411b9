/* berth-runtime: the command line of an OCI runtime, as runc's. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/json.h"
#include "common/scope.h"
#include "runtime/container.h"
#include "runtime/signals.h"

#define DEFAULT_ROOT "/run/berth/runtime"
#define VERSION "berth-runtime 0.1.0\nspec: 1.2.0\n"

struct command_line {
	struct container_options o;
	const char *log;
	bool log_json;
	const char *command;
};

/* Whether argv[*i] is --NAME, with its value in the next argument or after '='. */
static bool takes_value(char **argv, int argc, int *i, const char *name, const char **value, struct rt_error *err)
{
	size_t n = strlen(name);
	const char *a = argv[*i];
	if (strncmp(a, name, n) || (a[n] && a[n] != '='))
		return false;
	if (a[n] == '=')
		*value = a + n + 1;
	else if (*i + 1 < argc)
		*value = argv[++*i];
	else
		rt_fail(err, EINVAL, "%s needs a value", name);
	return true;
}

static bool is_flag(const char *a, const char *name, const char *shorter)
{
	return !strcmp(a, name) || (shorter && !strcmp(a, shorter));
}

static int parse_global(struct command_line *l, int argc, char **argv, struct rt_error *err)
{
	const char *format = NULL, *ignored = NULL;
	int i = 1;
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (takes_value(argv, argc, &i, "--root", &l->o.root, err) || takes_value(argv, argc, &i, "--log", &l->log, err) ||
		    takes_value(argv, argc, &i, "--log-format", &format, err) || takes_value(argv, argc, &i, "--rootless", &ignored, err) ||
		    is_flag(argv[i], "--debug", NULL))
			continue;
		if (is_flag(argv[i], "--version", "-v")) {
			l->command = "version";
			return argc;
		}
		return rt_fail(err, EINVAL, "unknown option %s", argv[i]);
	}
	if (format && strcmp(format, "json") && strcmp(format, "text"))
		return rt_fail(err, EINVAL, "unknown log format %s", format);
	l->log_json = format && !strcmp(format, "json");
	if (i >= argc)
		return rt_fail(err, EINVAL, "usage: berth-runtime [--root DIR] [--log FILE] [--log-format text|json] create|start|run|state|kill|delete ...");
	l->command = argv[i];
	return err->code ? -err->code : i + 1;
}

static int parse_number(const char *text, const char *what, int max, int *out, struct rt_error *err)
{
	char *end;
	long v = strtol(text, &end, 10);
	if (!*text || *end || v < 0 || v > max)
		return rt_fail(err, EINVAL, "%s %s", what, text);
	*out = (int)v;
	return 0;
}

static int parse_command(struct command_line *l, int i, int argc, char **argv, struct rt_error *err)
{
	struct container_options *o = &l->o;
	bool making = !strcmp(l->command, "create") || !strcmp(l->command, "run");
	const char *operands[2] = { NULL, NULL }, *fds = NULL;
	int count = 0;
	for (; i < argc; i++) {
		if (argv[i][0] != '-' || !argv[i][1]) {
			if (count == 2)
				return rt_fail(err, EINVAL, "too many arguments");
			operands[count++] = argv[i];
		} else if (making && (takes_value(argv, argc, &i, "--bundle", &o->bundle, err) || takes_value(argv, argc, &i, "-b", &o->bundle, err) ||
				      takes_value(argv, argc, &i, "--pid-file", &o->pid_file, err) ||
				      takes_value(argv, argc, &i, "--console-socket", &o->console_socket, err) ||
				      takes_value(argv, argc, &i, "--preserve-fds", &fds, err))) {
			continue;
		} else if (!strcmp(l->command, "run") && is_flag(argv[i], "--detach", "-d")) {
			o->detach = true;
		} else if (!strcmp(l->command, "delete") && is_flag(argv[i], "--force", "-f")) {
			o->force = true;
		} else if (!strcmp(l->command, "kill") && is_flag(argv[i], "--all", "-a")) {
			o->all = true;
		} else {
			return rt_fail(err, EINVAL, "%s: unknown option %s", l->command, argv[i]);
		}
	}
	if (err->code)
		return -err->code;
	if (fds && parse_number(fds, "--preserve-fds", 1024, &o->preserve_fds, err) < 0)
		return -err->code;
	if (!operands[0])
		return rt_fail(err, EINVAL, "%s needs a container id", l->command);
	if (operands[1] && strcmp(l->command, "kill"))
		return rt_fail(err, EINVAL, "too many arguments");
	o->id = operands[0];
	o->signal = operands[1] ? signal_from_text(operands[1]) : SIGTERM;
	return o->signal < 0 ? rt_fail(err, EINVAL, "unknown signal %s", operands[1]) : 0;
}

/* One line of the log, in runc's JSON or in its logfmt, whose quoting is JSON's too. */
static void log_error(const struct command_line *l, const char *message)
{
	struct json_out msg = { 0 };
	char now[40];
	time_t t = time(NULL);
	struct tm tm;
	strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	json_out_str(&msg, message);
	cleanup_free char *quoted = json_out_finish(&msg);
	cleanup_fd int fd = open(l->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
	if (fd < 0 || !quoted)
		return;
	dprintf(fd, l->log_json ? "{\"level\":\"error\",\"msg\":%s,\"time\":\"%s\"}\n" : "level=error msg=%s time=\"%s\"\n", quoted, now);
}

static int run_command(const struct command_line *l, int *status, struct rt_error *err)
{
	const struct container_options *o = &l->o;
	if (!strcmp(l->command, "create"))
		return container_create(o, err);
	if (!strcmp(l->command, "run"))
		return container_run(o, status, err);
	if (!strcmp(l->command, "start"))
		return container_start(o, err);
	if (!strcmp(l->command, "state"))
		return container_state(o, err);
	if (!strcmp(l->command, "kill"))
		return container_kill(o, err);
	if (!strcmp(l->command, "delete"))
		return container_delete(o, err);
	return rt_fail(err, EINVAL, "unknown command %s", l->command);
}

int main(int argc, char **argv)
{
	struct command_line l = { .o = { .argv = argv, .root = DEFAULT_ROOT, .bundle = "." } };
	struct rt_error err = { 0 };
	int status = 0;
	/* A careful caller's umask must not close the container's cgroup to the container's own root. */
	umask(022);
	int i = parse_global(&l, argc, argv, &err);
	if (i >= 0 && !strcmp(l.command, "version")) {
		printf(VERSION);
		return 0;
	}
	if (i < 0 || parse_command(&l, i, argc, argv, &err) < 0 || run_command(&l, &status, &err) < 0) {
		char message[RT_ERROR_TEXT + 128];
		rt_error_message(&err, message, sizeof message);
		fprintf(stderr, "berth-runtime: %s\n", message);
		if (l.log)
			log_error(&l, message);
		return 1;
	}
	return status;
}
