#include "runtime/exec-join.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/scope.h"
#include "runtime/become.h"
#include "runtime/console.h"
#include "runtime/exec.h"
#include "runtime/lsm.h"
#include "runtime/namespaces.h"
#include "runtime/scheduling.h"
#include "runtime/seccomp-notify.h"
#include "runtime/sync.h"

static _Noreturn void give_up(const struct join_args *a, const struct rt_error *err)
{
	sync_send_error(a->sync_fd, err);
	_exit(255);
}

/* Tells the seccomp listener whose syscalls it will be asked about. */
static int describe(const struct join_args *a, struct seccomp_listener *listener, pid_t pid, struct rt_error *err)
{
	cleanup_free char *text = state_to_json(a->state, STATUS_RUNNING);
	return text ? seccomp_listener_describe(listener, a->config->seccomp, text, pid, err) : rt_fail(err, ENOMEM, "describe the container");
}

/* The child, inside the pid namespace. */
static int run_inside(struct join_args *a, int terminal, struct rt_error *err)
{
	const struct process_spec *p = &a->config->process;
	struct sync_message m;
	struct program program;
	int r;
	/* Until the runtime knows this process. */
	if ((r = sync_expect(a->sync_fd, SYNC_GO, &m, err)) < 0)
		return r;
	struct seccomp_listener *listener = a->filter ? a->filter->listener : NULL;
	if (listener && (r = describe(a, listener, m.pid, err)) < 0)
		return r;
	setsid();
	if (terminal >= 0 && (r = console_adopt(terminal, err)) < 0)
		return r;
	if ((r = exec_find(p, &program, err)) < 0 || (r = become_filtered(p, a->filter, err)) < 0)
		return r;
	if ((r = sync_send(a->sync_fd, SYNC_READY, err)) < 0 || (r = sync_expect(a->sync_fd, SYNC_GO, &m, err)) < 0)
		return r;
	if ((r = lsm_apply(p, err)) < 0)
		return r;
	if (a->filter && p->no_new_privileges && (r = seccomp_load(a->filter, err)) < 0)
		return r;
	return exec_program(p, &program, err);
}

/* The steps in the only order that works; none can be undone. */
static int join(struct join_args *a, struct rt_error *err)
{
	const struct config *c = a->config;
	const struct process_spec *p = &c->process;
	struct sync_message m;
	int r;

	/* 1. The runtime has moved this process into the container's cgroup. */
	if ((r = sync_expect(a->sync_fd, SYNC_GO, &m, err)) < 0)
		return r;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return rt_fail_errno(err, "bar tracing");
	if ((r = become_reset_signals(err)) < 0)
		return r;
	/* 2. All namespaces at once: the kernel joins the user namespace first, and judges the others by this process's rights over both. */
	if (setns(a->init, (int)ns_flags(a->namespaces)) < 0)
		return rt_fail_errno(err, "join the container's namespaces");
	if ((r = become_root(c, err)) < 0 || (r = become_join_keyring(err)) < 0 || (r = become_personality(c, err)) < 0 ||
	    (r = scheduling_set_memory_policy(&c->memory_policy, err)) < 0)
		return r;
	/* 3. A terminal of the container's own devpts. */
	cleanup_fd int terminal = -1;
	if (a->console_socket >= 0) {
		cleanup_fd int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (root < 0)
			return rt_fail_errno(err, "open the container's root directory");
		terminal = console_make(p, root, a->console_socket, err);
		if (terminal < 0)
			return terminal;
	}
	/* 4. Nothing of the host stays open. */
	struct seccomp_listener *listener = a->filter ? a->filter->listener : NULL;
	if ((r = become_close_others((int *[]){ &a->sync_fd, &terminal, listener ? &listener->socket : NULL, NULL }, a->preserve_fds, err)) < 0)
		return r;
	/* 5. The user, before anybody inside can look. */
	if ((r = become_user_in_cwd(p, a->filter, err)) < 0)
		return r;
	/* 6. Into the pid namespace. */
	struct clone_args args = { .flags = CLONE_PARENT };
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid < 0)
		return rt_fail_errno(err, "start a process in the container");
	if (pid == 0) {
		r = run_inside(a, terminal, err);
		give_up(a, err);
	}
	if ((r = sync_send_pid(a->sync_fd, SYNC_PID, (pid_t)pid, err)) < 0)
		kill((pid_t)pid, SIGKILL);
	return r;
}

_Noreturn void join_main(struct join_args *a)
{
	struct rt_error err = { 0 };
	if (join(a, &err) < 0)
		give_up(a, &err);
	_exit(0);
}
