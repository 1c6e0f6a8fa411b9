#include "runtime/spawn.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/scope.h"
#include "runtime/namespaces.h"
#include "runtime/sync.h"

static pid_t clone_process(uint64_t flags, int cgroup_fd)
{
	struct clone_args args = { .flags = flags | CLONE_CLEAR_SIGHAND, .exit_signal = (flags & CLONE_PARENT) ? 0 : SIGCHLD };
	if (cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup_fd;
	}
	return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

/* Sets *in_v2, in both processes, when the new one was born in the v2 cgroup of cgroup_fd, if that is one. */
static pid_t clone_into_cgroup(uint64_t flags, int cgroup_fd, bool *in_v2)
{
	*in_v2 = cgroup_fd >= 0;
	pid_t pid = clone_process(flags, cgroup_fd);
	if (pid >= 0 || cgroup_fd < 0 || errno == ENOSPC || errno == EAGAIN)
		return pid;
	*in_v2 = false;
	return clone_process(flags, -1);
}

/*
 * All but the cgroup namespace, which init makes once it is in its cgroup, the time namespace, whose clocks are set before anybody is in it, and the mount
 * namespace of one that waits without a root: a copy of the host's mounts would keep each of them in use for as long.
 */
static uint64_t created_flags(const struct init_args *a)
{
	unsigned later = 1u << NS_CGROUP | 1u << NS_TIME | (a->park == PARK_BARE ? 1u << NS_MOUNT : 0);
	return ns_flags(a->config->ns.create & ~later);
}

static bool joins_any(const struct config *c)
{
	for (int k = 0; k < NS_KINDS; k++) {
		if (c->ns.path[k])
			return true;
	}
	return false;
}

/* In the new process: while it held the runtime's end too, it could never see the runtime end. */
static void drop_runtime_side(const struct init_args *a, int sync_fd)
{
	close(sync_fd);
	/* The lock of the record goes with its last descriptor. */
	close(a->state_dir);
	if (a->claim_fd >= 0)
		close(a->claim_fd);
}

static _Noreturn void join_and_init(struct init_args *a, bool in_v2)
{
	struct rt_error err = { 0 };
	/* By itself, and by the host's paths: whatever this process costs from here on, its cgroup pays. */
	if (cgroups_enter(a->cgroups, in_v2, &err) < 0 || ns_join(a->ns_fds, &err) < 0) {
		sync_send_error(a->sync_fd, &err);
		_exit(255);
	}
	init_main(a);
}

/*
 * A process in between: only the children of the process that joins a pid namespace are in it, namespaces belong to the user
 * namespace that their maker is in, and one that is in a new user namespace has no rights over those of the host that are to
 * be joined. Its child is the runtime's, by CLONE_PARENT.
 */
static _Noreturn void between(struct init_args *a)
{
	struct rt_error err = { 0 };
	int r = ns_join(a->ns_fds, &err);
	if (r == 0) {
		pid_t pid = clone_process(created_flags(a) | CLONE_PARENT, -1);
		if (pid == 0)
			init_main(a);
		r = pid < 0 ? rt_fail_errno(&err, "start the container's process") : sync_send_pid(a->sync_fd, SYNC_PID, pid, &err);
		if (r < 0 && pid > 0)
			kill(pid, SIGKILL);
	}
	if (r < 0)
		sync_send_error(a->sync_fd, &err);
	_exit(r < 0 ? 1 : 0);
}

static int spawn_between(struct init_args *a, int sync_fd, pid_t *pid, struct rt_error *err)
{
	struct sync_message m;
	pid_t helper = clone_process(0, -1);
	if (helper < 0)
		return rt_fail_errno(err, "start a process");
	if (helper == 0) {
		drop_runtime_side(a, sync_fd);
		between(a);
	}
	/* Init waits for GO until after this, so the first word is the helper's; the runtime's own copy of the far end closes later. */
	int r = sync_expect(sync_fd, SYNC_PID, &m, err);
	retry_eintr(waitpid(helper, NULL, 0));
	*pid = r < 0 ? 0 : m.pid;
	/* From out here: inside the user namespace that it joined, init may not write to the host's cgroups. */
	return r < 0 ? r : cgroups_attach(a->cgroups, m.pid, err);
}

int spawn_init(struct init_args *a, int sync_fd, pid_t *pid, struct rt_error *err)
{
	const struct config *c = a->config;
	bool in_v2;
	a->goes_on_early = false;
	if (c->ns.path[NS_USER] || c->ns.path[NS_PID] || (ns_has(c, NS_USER) && joins_any(c)))
		return spawn_between(a, sync_fd, pid, err);
	a->goes_on_early = !ns_has(c, NS_USER);
	pid_t child = clone_into_cgroup(created_flags(a), a->cgroups->v2_fd, &in_v2);
	if (child < 0)
		return rt_fail_errno(err, "start the container's process");
	if (child == 0) {
		drop_runtime_side(a, sync_fd);
		join_and_init(a, in_v2);
	}
	*pid = child;
	return 0;
}
