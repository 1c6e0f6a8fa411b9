#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cgroup.h"
#include "common/json.h"
#include "common/scope.h"
#include "runtime/cgroups.h"
#include "runtime/lifecycle.h"

struct pids {
	pid_t *at;
	size_t count;
};

static int find_processes(const struct container_options *o, struct pids *out, struct rt_error *err)
{
	cleanup_state struct state s = { 0 };
	struct cg_layout layout;
	int r;
	cleanup_fd int dir = container_open(o, false, &s, err);
	if (dir < 0)
		return dir;
	if (!s.cgroups_path && s.pid > 0)
		return rt_fail(err, ENOTSUP, "container %s is in no cgroup of its own, which would tell its processes", o->id);
	if (!s.cgroups_path)
		return 0;
	return (r = cg_detect(&layout, err)) < 0 ? r : cgroups_processes(&layout, s.cgroups_path, &out->at, &out->count, err);
}

static int print_json(const struct pids *p, struct rt_error *err)
{
	struct json_out o = { 0 };
	json_out_open(&o, '[');
	for (size_t i = 0; i < p->count; i++)
		json_out_int(&o, p->at[i]);
	json_out_close(&o, ']');
	cleanup_free char *text = json_out_finish(&o);
	if (!text)
		return rt_fail(err, ENOMEM, "list processes");
	return printf("%s\n", text) < 0 || fflush(stdout) != 0 ? rt_fail_errno(err, "write the list") : 0;
}

/* Starts the host's ps with the caller's options, or -ef; its output comes from *out. */
static int start_ps(const struct text_list *options, pid_t *pid, int *out, struct rt_error *err)
{
	const char *defaults[] = { "ps", "-ef", NULL };
	int fds[2];
	cleanup_free const char **argv = calloc(options->count + 2, sizeof *argv);
	if (!argv || pipe2(fds, O_CLOEXEC) < 0)
		return rt_fail_errno(err, "run ps");
	*out = fds[0];
	cleanup_fd int write_end = fds[1];
	argv[0] = "ps";
	for (size_t i = 0; i < options->count; i++)
		argv[i + 1] = options->at[i];
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, write_end, STDOUT_FILENO);
	int r = posix_spawnp(pid, "ps", &actions, NULL, (char *const *)(options->count ? argv : defaults), environ);
	posix_spawn_file_actions_destroy(&actions);
	return r ? rt_fail(err, r, "run ps (of the package procps)") : 0;
}

/* The n-th word of a line as a pid; 0 when it is none. */
static pid_t pid_in(const char *line, int column)
{
	for (int i = 0;; i++) {
		line += strspn(line, " \t\n");
		if (!*line)
			return 0;
		if (i == column)
			return (pid_t)strtol(line, NULL, 10);
		line += strcspn(line, " \t\n");
	}
}

static int pid_column(char *header)
{
	char *save = NULL;
	int column = 0;
	for (char *word = strtok_r(header, " \t\n", &save); word; word = strtok_r(NULL, " \t\n", &save), column++) {
		if (!strcmp(word, "PID"))
			return column;
	}
	return -1;
}

static bool has(const struct pids *p, pid_t pid)
{
	for (size_t i = 0; i < p->count; i++) {
		if (p->at[i] == pid)
			return true;
	}
	return false;
}

static int filter(FILE *in, const struct pids *p, struct rt_error *err)
{
	cleanup_free char *line = NULL;
	size_t size = 0;
	int column = -1;
	while (getline(&line, &size, in) > 0) {
		if (column < 0) {
			printf("%s", line);
			if ((column = pid_column(line)) < 0)
				return rt_fail(err, EINVAL, "these options make ps print no column PID");
		} else if (has(p, pid_in(line, column))) {
			printf("%s", line);
		}
	}
	return fflush(stdout) != 0 ? rt_fail_errno(err, "write the list") : 0;
}

static int print_table(const struct container_options *o, const struct pids *p, struct rt_error *err)
{
	int fd = -1, status;
	pid_t pid = 0;
	int r = start_ps(&o->args, &pid, &fd, err);
	FILE *in = fd < 0 ? NULL : fdopen(fd, "r");
	if (!in) {
		scope_close(&fd);
		return r < 0 ? r : rt_fail_errno(err, "run ps");
	}
	if (r == 0)
		r = filter(in, p, err);
	fclose(in);
	if (pid > 0 && retry_eintr(waitpid(pid, &status, 0)) == pid && r == 0 && status != 0)
		r = rt_fail(err, EINVAL, "ps failed");
	return r;
}

int container_ps(const struct container_options *o, struct rt_error *err)
{
	struct pids p = { 0 };
	bool json = o->format && !strcmp(o->format, "json");
	if (o->format && !json && strcmp(o->format, "table"))
		return rt_fail(err, EINVAL, "--format is table or json, not \"%s\"", o->format);
	int r = find_processes(o, &p, err);
	if (r == 0)
		r = json ? print_json(&p, err) : print_table(o, &p, err);
	free(p.at);
	return r;
}
