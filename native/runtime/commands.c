#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "runtime/options.h"
#include "runtime/signals.h"

#define AT(field) offsetof(struct container_options, field)

const struct option_def global_options[] = {
	{ "root", 0, OPTION_TEXT, AT(root), "DIR", "where the state of containers is kept" },
	{ "log", 0, OPTION_TEXT, AT(log), "FILE", "append errors and warnings to FILE" },
	{ "log-format", 0, OPTION_TEXT, AT(log_format), "text|json", "form of the log's lines" },
	{ "debug", 0, OPTION_FLAG, AT(debug), NULL, "log more" },
	{ "rootless", 0, OPTION_TEXT, AT(rootless), "auto|true|false", "whether an ordinary user runs it; auto looks" },
	{ "criu", 0, OPTION_TEXT, AT(criu), "PATH", "accepted; nothing here checkpoints" },
	{ "systemd-cgroup", 0, OPTION_FLAG, AT(systemd_cgroup), NULL, "refused: cgroups are made without systemd" },
	{ "version", 'v', OPTION_FLAG, AT(version), NULL, "print the version" },
	{ 0 },
};

#define MAKING \
	{ "bundle", 'b', OPTION_TEXT, AT(bundle), "DIR", "the OCI bundle; default: the working directory" }, \
	{ "pid-file", 0, OPTION_TEXT, AT(pid_file), "FILE", "write the pid of the container's first process" }, \
	{ "console-socket", 0, OPTION_TEXT, AT(console_socket), "PATH", "send the terminal's master to this unix socket" }, \
	{ "preserve-fds", 0, OPTION_COUNT, AT(preserve_fds), "N", "hand N descriptors from 3 on to the program" }, \
	{ "no-pivot", 0, OPTION_FLAG, AT(no_pivot), NULL, "refused: a root without pivot_root can be left" }, \
	{ "no-new-keyring", 0, OPTION_FLAG, AT(no_new_keyring), NULL, "keep the caller's session keyring" }

static const struct option_def create_options[] = { MAKING, { 0 } };

static const struct option_def run_options[] = {
	MAKING,
	{ "detach", 'd', OPTION_FLAG, AT(detach), NULL, "return when the program runs" },
	{ "keep", 0, OPTION_FLAG, AT(keep), NULL, "leave the stopped container to `delete`" },
	{ "no-subreaper", 0, OPTION_IGNORED, 0, NULL, "accepted: this is no subreaper" },
	{ 0 },
};

static const struct option_def exec_options[] = {
	{ "process", 'p', OPTION_TEXT, AT(process_file), "FILE", "the process, as config.json has it" },
	{ "console-socket", 0, OPTION_TEXT, AT(console_socket), "PATH", "send the terminal's master to this unix socket" },
	{ "tty", 't', OPTION_FLAG, AT(tty), NULL, "give it a terminal" },
	{ "detach", 'd', OPTION_FLAG, AT(detach), NULL, "return when the program runs" },
	{ "pid-file", 0, OPTION_TEXT, AT(pid_file), "FILE", "write the pid of the process" },
	{ "cwd", 0, OPTION_TEXT, AT(cwd), "DIR", "working directory" },
	{ "env", 'e', OPTION_LIST, AT(env), "NAME=VALUE", "add to the environment" },
	{ "user", 'u', OPTION_TEXT, AT(user), "USER[:GROUP]", "ids, or names of the container's /etc/passwd and /etc/group" },
	{ "additional-gids", 'g', OPTION_LIST, AT(groups), "GID", "add a group" },
	{ "cap", 'c', OPTION_LIST, AT(caps), "CAP", "add a capability" },
	{ "no-new-privs", 0, OPTION_FLAG, AT(no_new_privs), NULL, "bar it from gaining privileges" },
	{ "preserve-fds", 0, OPTION_COUNT, AT(preserve_fds), "N", "hand N descriptors from 3 on to the program" },
	{ "cgroup", 0, OPTION_LIST, AT(subcgroups), "[CONTROLLER:]PATH", "run in a cgroup below the container's" },
	{ "ignore-paused", 0, OPTION_FLAG, AT(ignore_paused), NULL, "start it even where it will only run after `resume`" },
	{ "process-label", 0, OPTION_TEXT, AT(process_label), "LABEL", "SELinux label; refused" },
	{ "apparmor", 0, OPTION_TEXT, AT(apparmor), "PROFILE", "AppArmor profile; refused" },
	{ "no-subreaper", 0, OPTION_IGNORED, 0, NULL, "accepted: this is no subreaper" },
	{ 0 },
};

static const struct option_def kill_options[] = {
	{ "all", 'a', OPTION_FLAG, AT(all), NULL, "every process of the container" },
	{ 0 },
};

static const struct option_def delete_options[] = {
	{ "force", 'f', OPTION_FLAG, AT(force), NULL, "kill it first; no error when there is none" },
	{ 0 },
};

static const struct option_def no_options[] = { { 0 } };

static int run_create(const struct container_options *o, int *status, struct rt_error *err)
{
	(void)status;
	return container_create(o, err);
}

static int run_start(const struct container_options *o, int *status, struct rt_error *err)
{
	(void)status;
	return container_start(o, err);
}

static int run_state(const struct container_options *o, int *status, struct rt_error *err)
{
	(void)status;
	return container_state(o, err);
}

static int run_kill(const struct container_options *o, int *status, struct rt_error *err)
{
	struct container_options with = *o;
	(void)status;
	with.signal = o->args.count ? signal_from_text(o->args.at[0]) : SIGTERM;
	return with.signal < 0 ? rt_fail(err, EINVAL, "unknown signal %s", o->args.at[0]) : container_kill(&with, err);
}

static int run_delete(const struct container_options *o, int *status, struct rt_error *err)
{
	(void)status;
	return container_delete(o, err);
}

const struct command_def command_defs[] = {
	{ "create", "ID", 1, 1, create_options, run_create, 1, "make a container" },
	{ "start", "ID", 1, 1, no_options, run_start, 1, "run the program of a created container" },
	{ "run", "ID", 1, 1, run_options, container_run, 1, "create and start" },
	{ "state", "ID", 1, 1, no_options, run_state, 1, "print the OCI state" },
	{ "kill", "ID [SIGNAL]", 1, 2, kill_options, run_kill, 1, "send a signal, TERM by default" },
	{ "delete", "ID", 1, 1, delete_options, run_delete, 1, "remove a stopped container" },
	{ "exec", "ID PROGRAM [ARGUMENT...] | --process FILE ID", 1, -1, exec_options, container_exec, 255, "run another process in a container" },
	{ 0 },
};
