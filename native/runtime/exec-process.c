#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/scope.h"
#include "runtime/engine-socket.h"
#include "runtime/container.h"
#include "runtime/exec-cgroup.h"
#include "runtime/exec-join.h"
#include "runtime/exec-spec.h"
#include "runtime/freezer.h"
#include "runtime/lifecycle.h"
#include "runtime/process.h"
#include "runtime/seccomp-notify.h"
#include "runtime/self.h"
#include "runtime/scheduling.h"
#include "runtime/state.h"
#include "runtime/sync.h"
#include "runtime/terminal.h"

/* A process on its way into a container. */
struct joining {
	const struct container_options *options;
	struct state state;
	struct config config;
	struct json_doc *process_doc;
	struct seccomp_filter filter;
	struct seccomp_listener listener;
	struct exec_cgroup cgroup;
	int init; /* pidfd */
	int sync_fd;
	pid_t pid; /* 0: none yet */
};

/* The container as it is, and as it was configured. The record is locked only meanwhile: others may use it while the program runs. */
static int load(struct joining *j, struct rt_error *err)
{
	const struct container_options *o = j->options;
	cleanup_fd int dir = container_open(o, false, &j->state, err);
	if (dir < 0)
		return dir;
	enum status now = state_status(dir, &j->state);
	if (now != STATUS_RUNNING && now != STATUS_CREATED)
		return rt_fail(err, EINVAL, "cannot exec in a %s container: %s", status_name(now), o->id);
	j->init = state_pidfd(&j->state);
	if (j->init < 0)
		return rt_fail(err, j->init, "container not running: %s", o->id);
	return config_load(dir, "config.json", &j->config, err);
}

static int check_terminal(const struct container_options *o, bool terminal, struct rt_error *err)
{
	if (terminal && o->detach && !o->console_socket)
		return rt_fail(err, EINVAL, "a detached process with a terminal needs --console-socket");
	if (o->console_socket && (!terminal || !o->detach))
		return rt_fail(err, EINVAL, "--console-socket is for a detached process with a terminal");
	return 0;
}

static int prepare(struct joining *j, struct rt_error *err)
{
	const struct container_options *o = j->options;
	struct config *c = &j->config;
	int r;
	if ((r = self_protect(c, o->argv, err)) < 0 || (r = exec_spec(o, j->state.pid, c, &j->process_doc, err)) < 0 ||
	    (r = check_terminal(o, c->process.terminal, err)) < 0 || (r = exec_cgroup_find(&j->cgroup, j->state.cgroups_path, &o->subcgroups, err)) < 0)
		return r;
	if (!o->ignore_paused && j->state.cgroups_path && freezer_is_frozen(&j->cgroup.layout, j->state.cgroups_path))
		return rt_fail(err, EINVAL, "cannot exec in a paused container (use --ignore-paused): %s", o->id);
	/* What was found by the pid so far was the container's if it has not ended by now. */
	struct pollfd p = { .fd = j->init, .events = POLLIN };
	if (poll(&p, 1, 0) != 0)
		return rt_fail(err, EINVAL, "cannot exec in a stopped container: %s", o->id);
	if (c->seccomp && ((r = seccomp_compile(c->seccomp, &j->filter, err)) < 0 || (r = seccomp_listener_connect(c->seccomp, &j->filter, &j->listener, err)) < 0))
		return r;
	return 0;
}

/* What the container has namespaces of its own for, made or joined. */
static unsigned namespaces_of(const struct config *c)
{
	unsigned set = c->ns.create;
	for (int k = 0; k < NS_KINDS; k++)
		set |= c->ns.path[k] ? 1u << k : 0;
	return set;
}

static pid_t clone_into(int cgroup_fd)
{
	struct clone_args args = { .flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD };
	if (cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup_fd;
	}
	return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

/* Starts the first process and learns the pid of the second. */
static int spawn(struct joining *j, struct join_args *a, struct rt_error *err)
{
	struct sync_message m;
	pid_t first = clone_into(j->cgroup.v2_fd);
	bool in_v2 = first >= 0 && j->cgroup.v2_fd >= 0;
	if (first < 0 && j->cgroup.v2_fd >= 0 && errno != EAGAIN)
		first = clone_into(-1);
	if (first < 0)
		return rt_fail_errno(err, "start a process");
	if (first == 0) {
		close(j->sync_fd);
		join_main(a);
	}
	/* Without this copy the end of the other side is the end of the conversation. */
	close(take_fd(&a->sync_fd));
	const struct process_spec *p = &j->config.process;
	int r = p->affinity_initial ? scheduling_set_affinity(p->affinity_initial, first, err) : 0;
	if (r == 0)
		r = exec_cgroup_enter(&j->cgroup, j->state.cgroups_path, first, in_v2, j->state.pid, err);
	if (r == 0)
		r = scheduling_set_affinity(p->affinity_final, first, err);
	if (r == 0 && (r = sync_send(j->sync_fd, SYNC_GO, err)) == 0 && (r = sync_expect(j->sync_fd, SYNC_PID, &m, err)) == 0)
		j->pid = m.pid;
	if (r < 0)
		kill(first, SIGKILL);
	retry_eintr(waitpid(first, NULL, __WALL));
	return r;
}

static int start(struct joining *j, struct terminal *t, struct rt_error *err)
{
	const struct container_options *o = j->options;
	struct config *c = &j->config;
	struct sync_message m;
	int fds[2], r;
	int preserve_fds = o->preserve_fds;
	if ((r = process_take_listen_fds(&j->config, &preserve_fds, err)) < 0)
		return r;
	if ((r = sync_pair(fds, err)) < 0)
		return r;
	j->sync_fd = fds[0];
	cleanup_fd int console = -1;
	struct join_args a = {
		.config = c, .state = &j->state, .filter = c->seccomp ? &j->filter : NULL, .init = j->init, .namespaces = namespaces_of(c), .console_socket = -1,
		.sync_fd = fds[1], .preserve_fds = preserve_fds,
	};
	if (o->console_socket)
		a.console_socket = console = engine_connect(o->console_socket, "console socket", err);
	else if (c->process.terminal)
		a.console_socket = console = terminal_offer(t, &j->config.process, err);
	if (c->process.terminal && console < 0) {
		close(a.sync_fd);
		return console;
	}
	process_own_stdio(c);
	r = spawn(j, &a, err);
	scope_close(&a.sync_fd);
	seccomp_listener_release(&j->listener);
	if (r < 0 || (r = process_set_oom_score(&c->process, j->pid, err)) < 0 || (r = sync_send_pid(j->sync_fd, SYNC_GO, j->pid, err)) < 0 ||
	    (r = sync_expect(j->sync_fd, SYNC_READY, &m, err)) < 0 || (r = process_set_rlimits(c, j->pid, err)) < 0 ||
	    (r = scheduling_apply(&c->process, j->pid, err)) < 0 ||
	    (o->pid_file && (r = process_write_pid_file(o->pid_file, j->pid, err)) < 0) || (r = sync_send(j->sync_fd, SYNC_GO, err)) < 0)
		return r;
	/* The exec closes the socket; a failed one says why. */
	if ((r = sync_receive(j->sync_fd, &m, err)) < 0 || !o->pidfd_socket)
		return r;
	/* The last step of all: the engine may end the process as soon as it has this. */
	return engine_send_pidfd(o->pidfd_socket, j->pid, err);
}

static void release(struct joining *j)
{
	scope_close(&j->init);
	scope_close(&j->sync_fd);
	exec_cgroup_release(&j->cgroup);
	seccomp_listener_release(&j->listener);
	seccomp_free(&j->filter);
	config_free(&j->config);
	json_free(j->process_doc);
	state_free(&j->state);
}

int container_exec(const struct container_options *o, int *status, struct rt_error *err)
{
	struct joining j = { .options = o, .init = -1, .sync_fd = -1, .cgroup.v2_fd = -1, .listener = SECCOMP_LISTENER_NONE };
	struct terminal t = TERMINAL_NONE;
	sigset_t all;
	sigfillset(&all);
	int r = load(&j, err);
	if (r == 0)
		r = prepare(&j, err);
	/* Before the clone, so that no signal is lost in between. The process clears its own mask. */
	if (!o->detach)
		sigprocmask(SIG_BLOCK, &all, NULL);
	if (r == 0)
		r = start(&j, &t, err);
	if (r < 0 && j.pid > 0) {
		kill(j.pid, SIGKILL);
		retry_eintr(waitpid(j.pid, NULL, __WALL));
	}
	if (r == 0 && !o->detach)
		r = terminal_is_offered(&t) ? terminal_proxy(&t, j.pid, status, err) : process_wait(j.pid, status, err);
	terminal_close(&t);
	release(&j);
	return r;
}
