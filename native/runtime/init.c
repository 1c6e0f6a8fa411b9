#include "runtime/init.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/become.h"
#include "runtime/caps.h"
#include "runtime/claim.h"
#include "runtime/console.h"
#include "runtime/exec.h"
#include "runtime/hooks.h"
#include "runtime/lsm.h"
#include "runtime/namespaces.h"
#include "runtime/process.h"
#include "runtime/rootfs.h"
#include "runtime/scheduling.h"
#include "runtime/seccomp-notify.h"
#include "runtime/sync.h"

static int set_names(const struct config *c, struct rt_error *err)
{
	if (c->hostname && sethostname(c->hostname, strlen(c->hostname)) < 0)
		return rt_fail_errno(err, "set the host name");
	if (c->domainname && setdomainname(c->domainname, strlen(c->domainname)) < 0)
		return rt_fail_errno(err, "set the domain name");
	return 0;
}

/* By the host's /proc, before the image's files are in sight: no write can be led astray. */
static int set_sysctls(const struct config *c, struct rt_error *err)
{
	for (size_t i = 0; i < c->sysctl_count; i++) {
		char path[512] = "/proc/sys/";
		size_t n = strlen(path), len = strlen(c->sysctls[i].key);
		if (n + len >= sizeof path)
			return rt_fail(err, ENAMETOOLONG, "sysctl %s", c->sysctls[i].key);
		for (size_t k = 0; k <= len; k++)
			path[n + k] = c->sysctls[i].key[k] == '.' ? '/' : c->sysctls[i].key[k];
		int r = fs_write_at(AT_FDCWD, path, c->sysctls[i].value);
		if (r < 0)
			return rt_fail(err, r, "set sysctl %s", c->sysctls[i].key);
	}
	return 0;
}

/* Hooks inside the container's namespaces. */
static int run_hooks(const struct init_args *a, enum hook_stage stage, enum status now, pid_t pid, const char *const *env,
		     struct rt_error *err)
{
	if (a->config->hooks[stage].count == 0)
		return 0;
	struct state s = *a->state;
	s.pid = pid;
	cleanup_free char *text = state_to_json(&s, now);
	return text ? hooks_run(&a->config->hooks[stage], hook_stage_names[stage], text, env, err) : rt_fail(err, ENOMEM, "run hooks");
}

static int run_create_hooks(const struct init_args *a, pid_t pid, struct rt_error *err)
{
	const struct hook_list *hooks = a->config->hooks;
	struct sync_message m;
	int r;
	if ((hooks[HOOK_PRESTART].count || hooks[HOOK_CREATE_RUNTIME].count) &&
	    ((r = sync_send(a->sync_fd, SYNC_HOOKS, err)) < 0 || (r = sync_expect(a->sync_fd, SYNC_GO, &m, err)) < 0))
		return r;
	return run_hooks(a, HOOK_CREATE_CONTAINER, STATUS_CREATING, pid, NULL, err);
}

/* Tells the seccomp listener whose syscalls it will be asked about. */
static int describe(const struct init_args *a, struct seccomp_listener *listener, pid_t pid, struct rt_error *err)
{
	struct state s = *a->state;
	s.pid = pid;
	cleanup_free char *text = state_to_json(&s, STATUS_CREATING);
	return text ? seccomp_listener_describe(listener, a->config->seccomp, text, pid, err) : rt_fail(err, ENOMEM, "describe the container");
}

/* Waits for `start`; returns the descriptor on which to report a failed exec. */
static int wait_for_start(struct init_args *a, struct rt_error *err)
{
	struct sync_message m;
	int r;
	if ((r = sync_send(a->sync_fd, SYNC_READY, err)) < 0)
		return r;
	if (a->start_fd < 0) {
		r = sync_expect(a->sync_fd, SYNC_GO, &m, err);
		return r < 0 ? r : a->sync_fd;
	}
	close(a->sync_fd);
	for (;;) {
		int caller = (int)retry_eintr(accept4(a->start_fd, NULL, NULL, SOCK_CLOEXEC));
		if (caller < 0)
			return rt_fail_errno(err, "wait for start");
		if (sync_expect(caller, SYNC_GO, &m, err) == 0) {
			close(a->start_fd);
			a->sync_fd = caller;
			return caller;
		}
		/* A caller that went away before it said anything. */
		*err = (struct rt_error){ 0 };
		close(caller);
	}
}

/*
 * Waits in the finished file system, with the filter loaded that the program will have: what is still to be done here after a claim is
 * no more than the program itself might do.
 */
static int park(struct init_args *a, struct rt_error *err)
{
	int r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return rt_fail_errno(err, "set no_new_privs");
	if ((r = caps_apply_bounding(&a->config->process, err)) < 0 || (a->filter && (r = seccomp_load(a->filter, err)) < 0))
		return r;
	return claim_await(a, err);
}

/* The steps in the only order that works; none can be undone. */
static int become_container(struct init_args *a, struct rt_error *err)
{
	const struct config *c = a->config;
	struct sync_message m = { 0 };
	struct program program = { 0 };
	int r;

	/* 1. Before its id maps are written, or it is in its cgroup, this process cannot go on. */
	if (!a->goes_on_early && (r = sync_expect(a->sync_fd, SYNC_GO, &m, err)) < 0)
		return r;
	/* In its cgroup by now. */
	if ((r = scheduling_set_affinity(NULL, 0, err)) < 0)
		return r;
	/* While /proc lets this process write to its own files there. */
	if ((r = scheduling_set_memory_policy(&c->memory_policy, err)) < 0)
		return r;
	if (ns_has(c, NS_TIME) && (r = ns_make_time(c, err)) < 0)
		return r;
	/* 2. Nobody in the container may trace or inspect this process while it still has the host in its hands. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return rt_fail_errno(err, "bar tracing");
	if ((r = become_reset_signals(err)) < 0 || (r = become_root(c, err)) < 0)
		return r;
	setsid();
	umask(0);
	if (!a->keep_keyring && (r = become_join_keyring(err)) < 0)
		return r;
	/* 3. The cgroup namespace takes the current cgroup as its root, so it comes after the move. */
	if (ns_has(c, NS_CGROUP) && unshare(CLONE_NEWCGROUP) < 0)
		return rt_fail_errno(err, "make a cgroup namespace");
	/* 4. What belongs to the other namespaces, while the host's /proc is there to write to. */
	if ((r = set_names(c, err)) < 0 || (ns_has(c, NS_NET) && (r = ns_loopback_up(err)) < 0) || (r = set_sysctls(c, err)) < 0)
		return r;
	if (a->park == PARK_BARE) {
		if ((r = run_create_hooks(a, m.pid, err)) < 0 || (r = claim_await(a, err)) < 0)
			return r;
		c = a->config;
	}
	/* 5. The file system. New proc and sysfs mounts need the host's in sight, so all come before the pivot. */
	if ((r = rootfs_build(c, a->prepared, a->cgroups, err)) < 0)
		return r;
	if (a->console_socket >= 0 && (r = console_open(&c->process, a->prepared->rootfs, a->console_socket, err)) < 0)
		return r;
	/* The container is on record: from here on it may run what is not the runtime's. */
	if (a->goes_on_early && (r = sync_expect(a->sync_fd, SYNC_GO, &m, err)) < 0)
		return r;
	if ((a->park != PARK_BARE && (r = run_create_hooks(a, m.pid, err)) < 0) || (r = rootfs_enter(c, a->prepared, err)) < 0)
		return r;
	if ((r = become_personality(c, err)) < 0)
		return r;
	/* 6. Nothing of the host stays open. */
	struct seccomp_listener *listener = a->filter ? a->filter->listener : NULL;
	if ((r = become_close_others((int *[]){ &a->sync_fd, &a->start_fd, listener ? &listener->socket : NULL, NULL }, a->preserve_fds, err)) < 0 ||
	    (listener && (r = describe(a, listener, m.pid, err)) < 0))
		return r;
	if (a->park == PARK_ROOT) {
		if ((r = park(a, err)) < 0)
			return r;
		c = a->config;
	}
	const struct process_spec *p = &c->process;
	/* 7. The working directory, the user, and exactly the capabilities asked for. */
	if ((r = become_user_in_cwd(p, a->filter, err)) < 0)
		return r;
	/* 8. As the user: what it may not run, it does not. */
	if ((p->args.count && (r = exec_find(p, &program, err)) < 0) || (r = become_filtered(p, a->filter, err)) < 0)
		return r;
	/* 9. Wait, then go. */
	if ((a->asks_to_exec && (r = wait_for_start(a, err)) < 0) || (r = process_check_given(p, err)) < 0)
		return r;
	if (!a->asks_to_exec && (r = process_set_rlimits(c, 0, err)) < 0)
		return r;
	if ((r = lsm_apply(p, err)) < 0)
		return r;
	if (a->filter && p->no_new_privileges && a->park != PARK_ROOT && (r = seccomp_load(a->filter, err)) < 0)
		return r;
	/* 10. These hooks may be programs of the image: they run within every bound of the container's program. */
	if ((r = run_hooks(a, HOOK_START_CONTAINER, STATUS_CREATED, m.pid, program.env, err)) < 0)
		return r;
	return exec_program(p, &program, err);
}

_Noreturn void init_main(struct init_args *a)
{
	struct rt_error err = { 0 };
	if (become_container(a, &err) < 0)
		sync_send_error(a->sync_fd, &err);
	_exit(255);
}
