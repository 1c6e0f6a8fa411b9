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
	{ "cgroup-manager", 0, OPTION_TEXT, AT(cgroup_manager), "cgroupfs", "who makes cgroups, as crun has it; all else is refused" },
	{ "systemd-cgroup", 0, OPTION_FLAG, AT(systemd_cgroup), NULL, "refused: cgroups are made without systemd" },
	{ "version", 'v', OPTION_FLAG, AT(version), NULL, "print the version" },
	{ 0 },
};

#define MAKING \
	{ "bundle", 'b', OPTION_TEXT, AT(bundle), "DIR", "the OCI bundle; default: the working directory" }, \
	{ "config", 0, OPTION_TEXT, AT(config), "FILE", "another name for the bundle's config.json" }, \
	{ "pid-file", 0, OPTION_TEXT, AT(pid_file), "FILE", "write the pid of the container's first process" }, \
	{ "console-socket", 0, OPTION_TEXT, AT(console_socket), "PATH", "send the terminal's master to this unix socket" }, \
	{ "pidfd-socket", 0, OPTION_TEXT, AT(pidfd_socket), "PATH", "send a pidfd of the first process to this unix socket" }, \
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

static const struct option_def park_options[] = {
	{ "bundle", 'b', OPTION_TEXT, AT(bundle), "DIR", "the OCI bundle; default: the working directory" },
	{ "pid-file", 0, OPTION_TEXT, AT(pid_file), "FILE", "write the pid of the container's first process" },
	{ "claim", 0, OPTION_COUNT, AT(claim), "FD", "a socket: P is written when it waits, C claims it, its end removes it" },
	{ "bare", 0, OPTION_FLAG, AT(bare), NULL, "wait with namespaces and cgroup alone; limits, root and mounts come with the claim" },
	{ 0 },
};

static const struct option_def exec_options[] = {
	{ "process", 'p', OPTION_TEXT, AT(process_file), "FILE", "the process, as config.json has it" },
	{ "console-socket", 0, OPTION_TEXT, AT(console_socket), "PATH", "send the terminal's master to this unix socket" },
	{ "pidfd-socket", 0, OPTION_TEXT, AT(pidfd_socket), "PATH", "send a pidfd of the process to this unix socket" },
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
	{ "apparmor", 0, OPTION_TEXT, AT(apparmor), "PROFILE", "AppArmor profile; refused where the kernel has none" },
	{ "no-subreaper", 0, OPTION_IGNORED, 0, NULL, "accepted: this is no subreaper" },
	{ 0 },
};

static const struct option_def kill_options[] = {
	{ "all", 'a', OPTION_FLAG, AT(all), NULL, "every process of the container" },
	{ 0 },
};

static const struct option_def delete_options[] = {
	{ "force", 'f', OPTION_FLAG, AT(force), NULL, "kill it first; no error when there is none" },
	{ "regex", 'r', OPTION_FLAG, AT(regex), NULL, "ID is an extended regular expression: all that it matches" },
	{ 0 },
};

static const struct option_def list_options[] = {
	{ "format", 'f', OPTION_TEXT, AT(format), "table|json", "how to print them" },
	{ "quiet", 'q', OPTION_FLAG, AT(quiet), NULL, "print ids alone" },
	{ 0 },
};

static const struct option_def ps_options[] = {
	{ "format", 'f', OPTION_TEXT, AT(format), "table|json", "lines of ps, or pids alone" },
	{ 0 },
};

static const struct option_def update_options[] = {
	{ "resources", 'r', OPTION_TEXT, AT(update.resources), "FILE", "limits as linux.resources has them; - is stdin" },
	{ "memory", 0, OPTION_TEXT, AT(update.memory), "BYTES", "memory; -1 is no limit, 0 leaves it, here as below" },
	{ "memory-reservation", 0, OPTION_TEXT, AT(update.memory_reservation), "BYTES", "memory that is taken last" },
	{ "memory-swap", 0, OPTION_TEXT, AT(update.memory_swap), "BYTES", "memory and swap together" },
	{ "cpu-share", 0, OPTION_TEXT, AT(update.cpu_share), "N", "weight against other containers, 2 to 262144" },
	{ "cpu-period", 0, OPTION_TEXT, AT(update.cpu_period), "US", "period of the quota" },
	{ "cpu-quota", 0, OPTION_TEXT, AT(update.cpu_quota), "US", "cpu time in each period" },
	{ "cpu-burst", 0, OPTION_TEXT, AT(update.cpu_burst), "US", "unused quota that may be kept" },
	{ "cpu-rt-period", 0, OPTION_TEXT, AT(update.cpu_rt_period), "US", "period of the real-time limit" },
	{ "cpu-rt-runtime", 0, OPTION_TEXT, AT(update.cpu_rt_runtime), "US", "real-time cpu in each period" },
	{ "cpu-idle", 0, OPTION_TEXT, AT(update.cpu_idle), "0|1", "run only what others leave" },
	{ "cpuset-cpus", 0, OPTION_TEXT, AT(update.cpuset_cpus), "LIST", "cpus" },
	{ "cpuset-mems", 0, OPTION_TEXT, AT(update.cpuset_mems), "LIST", "memory nodes" },
	{ "pids-limit", 0, OPTION_TEXT, AT(update.pids_limit), "N", "processes and threads" },
	{ "blkio-weight", 0, OPTION_TEXT, AT(update.blkio_weight), "N", "weight of its block I/O, 10 to 1000" },
	{ "l3-cache-schema", 0, OPTION_TEXT, AT(update.l3_cache), "TEXT", "refused" },
	{ "mem-bw-schema", 0, OPTION_TEXT, AT(update.memory_bandwidth), "TEXT", "refused" },
	{ "kernel-memory", 0, OPTION_TEXT, AT(update.kernel_memory), "BYTES", "refused" },
	{ "kernel-memory-tcp", 0, OPTION_TEXT, AT(update.kernel_memory_tcp), "BYTES", "refused" },
	{ 0 },
};

static const struct option_def events_options[] = {
	{ "interval", 0, OPTION_TEXT, AT(interval), "TIME", "between statistics: 5s by default, 500ms, 1m" },
	{ "stats", 0, OPTION_FLAG, AT(stats), NULL, "print statistics once" },
	{ 0 },
};

static const struct option_def spec_options[] = {
	{ "bundle", 'b', OPTION_TEXT, AT(bundle), "DIR", "where to write it; default: the working directory" },
	{ "rootless", 0, OPTION_FLAG, AT(rootless_spec), NULL, "for a container of an ordinary user" },
	{ 0 },
};

static const struct option_def no_options[] = { { 0 } };

/* Commands that only fail or succeed. */
#define PLAIN(name) \
	static int run_##name(const struct container_options *o, int *status, struct rt_error *err) \
	{ \
		(void)status; \
		return container_##name(o, err); \
	}
PLAIN(create)
PLAIN(park)
PLAIN(start)
PLAIN(state)
PLAIN(pause)
PLAIN(resume)
PLAIN(list)
PLAIN(ps)
PLAIN(update)
PLAIN(events)

static int run_delete(const struct container_options *o, int *status, struct rt_error *err)
{
	(void)status;
	return o->regex ? container_delete_matching(o, err) : container_delete(o, err);
}

static int run_features(const struct container_options *o, int *status, struct rt_error *err)
{
	(void)status;
	return runtime_features(o, err);
}

static int run_spec(const struct container_options *o, int *status, struct rt_error *err)
{
	(void)status;
	return runtime_spec(o, err);
}

static int run_kill(const struct container_options *o, int *status, struct rt_error *err)
{
	struct container_options with = *o;
	(void)status;
	with.signal = o->args.count ? signal_from_text(o->args.at[0]) : SIGTERM;
	return with.signal < 0 ? rt_fail(err, EINVAL, "unknown signal %s", o->args.at[0]) : container_kill(&with, err);
}

const struct command_def command_defs[] = {
	{ "create", "ID", 1, 1, create_options, run_create, 1, "make a container" },
	{ "park", "ID", 1, 1, park_options, run_park, 1, "make a container that waits for what it is to run" },
	{ "start", "ID", 1, 1, no_options, run_start, 1, "run the program of a created container" },
	{ "run", "ID", 1, 1, run_options, container_run, 1, "create and start" },
	{ "state", "ID", 1, 1, no_options, run_state, 1, "print the OCI state" },
	{ "kill", "ID [SIGNAL]", 1, 2, kill_options, run_kill, 1, "send a signal, TERM by default" },
	{ "delete", "ID | --regex EXPRESSION", 1, 1, delete_options, run_delete, 1, "remove a stopped container" },
	{ "exec", "ID PROGRAM [ARGUMENT...] | --process FILE ID", 1, -1, exec_options, container_exec, 255, "run another process in a container" },
	{ "pause", "ID", 1, 1, no_options, run_pause, 1, "freeze all its processes" },
	{ "resume", "ID", 1, 1, no_options, run_resume, 1, "let them go on" },
	{ "update", "ID", 1, 1, update_options, run_update, 1, "change limits" },
	{ "ps", "ID [OPTION OF PS...]", 1, -1, ps_options, run_ps, 1, "list its processes" },
	{ "list", "", 0, 0, list_options, run_list, 1, "list containers" },
	{ "events", "ID", 1, 1, events_options, run_events, 1, "print statistics and out-of-memory kills" },
	{ "features", "", 0, 0, no_options, run_features, 1, "print what this runtime knows" },
	{ "spec", "", 0, 0, spec_options, run_spec, 1, "write a config.json to start from" },
	{ 0 },
};
