#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/caps.h"
#include "runtime/claim.h"
#include "runtime/creation.h"
#include "runtime/engine-socket.h"
#include "runtime/hooks.h"
#include "runtime/lifecycle.h"
#include "runtime/namespaces.h"
#include "runtime/notify.h"
#include "runtime/process.h"
#include "runtime/rootless.h"
#include "runtime/scheduling.h"
#include "runtime/seccomp-notify.h"
#include "runtime/self.h"
#include "runtime/spawn.h"
#include "runtime/state.h"
#include "runtime/sync.h"
#include "runtime/terminal.h"

static void now_rfc3339(char *out, size_t size)
{
	struct timespec t;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &t);
	gmtime_r(&t.tv_sec, &tm);
	size_t n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, size - n, ".%09ldZ", t.tv_nsec);
}

/* A listening socket in the state directory, by way of /proc/self/fd: a socket's path has room for 107 bytes. */
static int listen_for_start(int state_dir, struct rt_error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	snprintf(addr.sun_path, sizeof addr.sun_path, "/proc/self/fd/%d/%s", state_dir, STATE_START_SOCKET);
	cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, 8) < 0)
		return rt_fail_errno(err, "make the start socket");
	return take_fd(&fd);
}

/* Below the cgroup that is delegated to an ordinary user, or in none. */
static int delegated_cgroup(struct creation *n, struct rt_error *err)
{
	struct cg_layout layout;
	struct rt_error ignored = { 0 };
	char base[PATH_MAX], path[PATH_MAX];
	const char *own = n->cgroups_path;
	if (cg_detect(&layout, &ignored) < 0 || !rootless_cgroup(&layout, base, sizeof base)) {
		n->cgroups_path[0] = 0;
		return 0;
	}
	if (snprintf(path, sizeof path, "%s%s%s", strcmp(base, "/") ? base : "", own[0] == '/' ? "" : "/", own) >= (int)sizeof path)
		return rt_fail(err, ENAMETOOLONG, "cgroupsPath");
	memcpy(n->cgroups_path, path, sizeof path);
	return 0;
}

/* What root does at once with the bundle, an ordinary user does from within the container's user namespace. */
static int prepare(struct creation *n, int bundle, struct rt_error *err)
{
	struct config *c = &n->config;
	int r;
	/* What is bound at the claim is not known yet. */
	if (n->park == PARK_BARE)
		return prepare_devices_alone(c, &n->prepared, err);
	if (!rootless_is())
		return prepare_host(c, bundle, &n->prepared, err);
	if ((r = delegated_cgroup(n, err)) < 0)
		return r;
	if (geteuid() == 0)
		return prepare_host(c, bundle, &n->prepared, err);
	if ((r = rootless_enter(c, err)) < 0)
		return r;
	/* The same directory, in the mount namespace that this process is in by now. */
	cleanup_fd int again = openat(AT_FDCWD, n->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return again < 0 ? rt_fail_errno(err, "bundle %s", n->bundle) : prepare_host(c, again, &n->prepared, err);
}

int creation_root_path(const struct creation *n, const struct config *c, char rootfs[PATH_MAX], struct rt_error *err)
{
	const char *base = c->rootfs[0] == '/' ? "" : n->bundle;
	if (snprintf(rootfs, PATH_MAX, "%s%s%s", base, *base ? "/" : "", c->rootfs) >= PATH_MAX)
		return rt_fail(err, ENAMETOOLONG, "root file system %s", c->rootfs);
	return 0;
}

static int read_bundle(struct creation *n, struct rt_error *err)
{
	const struct container_options *o = n->options;
	if (!realpath(o->bundle, n->bundle))
		return rt_fail_errno(err, "bundle %s", o->bundle);
	cleanup_fd int bundle = openat(AT_FDCWD, n->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (bundle < 0)
		return rt_fail_errno(err, "bundle %s", n->bundle);
	struct config *c = &n->config;
	int r = config_read(bundle, o->config ? o->config : "config.json", c, err);
	/* Before the text is taken apart, which the program would do twice. */
	if (r == 0 && !memmem(c->text, c->text_len, "uidMappings", strlen("uidMappings")))
		r = self_protect(NULL, o->argv, err);
	if (r < 0 || (r = config_parse(c, err)) < 0)
		return r;
	if ((r = creation_root_path(n, c, n->rootfs, err)) < 0)
		return r;
	/* A relative path is relative to where those stand that the config does not name. */
	const char *path = c->cgroups_path ? c->cgroups_path : o->id;
	if (snprintf(n->cgroups_path, sizeof n->cgroups_path, "%s%s", path[0] == '/' ? "" : "/berth/", path) >= (int)sizeof n->cgroups_path)
		return rt_fail(err, ENAMETOOLONG, "cgroupsPath");
	if ((r = self_protect(c, o->argv, err)) < 0)
		return r;
	if ((r = process_take_listen_fds(c, &n->listeners, err)) < 0)
		return r;
	/* A new user namespace has them all. */
	if (!ns_in_user(c))
		caps_warn(&c->process);
	if (c->seccomp && ((r = seccomp_compile(c->seccomp, &n->filter, err)) < 0 || (r = seccomp_listener_connect(c->seccomp, &n->filter, &n->listener, err)) < 0))
		return r;
	return prepare(n, bundle, err);
}

int creation_save(struct creation *n, pid_t pid, struct rt_error *err)
{
	n->state = (struct state){
		.id = n->options->id, .bundle = n->bundle, .rootfs = n->rootfs, .cgroups_path = n->cgroups_path[0] ? n->cgroups_path : NULL, .created = n->created,
		.oci_version = n->config.oci_version, .pid = pid, .start_time = pid ? process_start_time(pid) : 0,
		.annotations = n->config.annotations,
		.hooks = n->config.hooks_json,
	};
	return state_save(n->state_dir, &n->state, err);
}

static bool has_runtime_hooks(const struct config *c)
{
	return c->hooks[HOOK_PRESTART].count || c->hooks[HOOK_CREATE_RUNTIME].count;
}

static int run_hooks(struct creation *n, struct rt_error *err)
{
	struct sync_message m;
	int r = sync_expect(n->sync_fd, SYNC_HOOKS, &m, err);
	if (r < 0)
		return r;
	/* prestart dates from when `start` ran it, and the specification still has it come after the create operation (config.md, "Summary"). */
	cleanup_free char *created = state_to_json(&n->state, STATUS_CREATED), *creating = state_to_json(&n->state, STATUS_CREATING);
	if (!created || !creating)
		return rt_fail(err, ENOMEM, "run hooks");
	if ((r = hooks_run(&n->config.hooks[HOOK_PRESTART], "prestart", created, NULL, err)) < 0 ||
	    (r = hooks_run(&n->config.hooks[HOOK_CREATE_RUNTIME], "createRuntime", creating, NULL, err)) < 0)
		return r;
	return sync_send(n->sync_fd, SYNC_GO, err);
}

static int check_console(const struct creation *n, bool waits, struct rt_error *err)
{
	const struct container_options *o = n->options;
	if (n->config.process.terminal && !o->console_socket && (waits || o->detach))
		return rt_fail(err, EINVAL, "process.terminal needs --console-socket");
	if (o->console_socket && (!n->config.process.terminal || (!waits && !o->detach)))
		return rt_fail(err, EINVAL, "--console-socket is for a detached container with process.terminal");
	return 0;
}

static int write_pid_file(struct creation *n, struct rt_error *err)
{
	const char *path = n->options->pid_file;
	int r = path ? process_write_pid_file(path, n->state.pid, err) : 0;
	n->has_pid_file = path && r == 0;
	return r;
}

/* Whether init must stop once more before the exec: for `start`, or for what it cannot give itself. */
static bool must_ask(const struct config *c, bool wait_for_start)
{
	const struct process_spec *p = &c->process;
	/* A filter that is loaded early may bar prlimit(2), and hooks inside run with the limits, too. */
	bool bound_early = (c->seccomp && !p->no_new_privileges) || c->hooks[HOOK_START_CONTAINER].count;
	return wait_for_start || bound_early || p->scheduler.given || p->io_priority >= 0 || process_raises_rlimits(p);
}

int creation_finish(struct creation *n, struct rt_error *err)
{
	struct sync_message m;
	int r = sync_expect(n->sync_fd, SYNC_READY, &m, err);
	if (r < 0 || (r = process_set_rlimits(&n->config, n->state.pid, err)) < 0)
		return r;
	return scheduling_apply(&n->config.process, n->state.pid, err);
}

/* Puts the new process on record, gives it what it cannot give itself, and lets it go on. */
static int release_init(struct creation *n, struct rt_error *err)
{
	const struct config *c = &n->config;
	struct sync_message m;
	pid_t pid = n->state.pid;
	int r;
	if ((r = creation_save(n, pid, err)) < 0 || (ns_has(c, NS_USER) && (r = ns_write_id_maps(pid, &c->uid_maps, &c->gid_maps, err)) < 0) ||
	    (r = process_set_oom_score(&c->process, pid, err)) < 0)
		return r;
	/* An init that asks for no more may become the program at any time after its GO. */
	if (!n->init.asks_to_exec && (r = write_pid_file(n, err)) < 0)
		return r;
	if ((r = sync_send_pid(n->sync_fd, SYNC_GO, pid, err)) < 0 || (has_runtime_hooks(c) && (r = run_hooks(n, err)) < 0))
		return r;
	if (!n->init.asks_to_exec)
		return 0;
	if (n->park && (r = sync_expect(n->sync_fd, SYNC_PARKED, &m, err)) < 0)
		return r;
	if (!n->park && (r = creation_finish(n, err)) < 0)
		return r;
	return write_pid_file(n, err);
}

static int make_process(struct creation *n, bool wait_for_start, struct rt_error *err)
{
	struct config *c = &n->config;
	int fds[2], r;
	if ((r = sync_pair(fds, err)) < 0)
		return r;
	n->sync_fd = fds[0];
	n->init = (struct init_args){
		.config = c, .prepared = &n->prepared, .cgroups = &n->cgroups, .filter = c->seccomp ? &n->filter : NULL,
		.state = &n->state, .state_dir = n->state_dir, .console_socket = -1, .sync_fd = fds[1], .start_fd = -1, .preserve_fds = n->options->preserve_fds + n->listeners,
		.keep_keyring = n->options->no_new_keyring,
		.asks_to_exec = n->park || must_ask(c, wait_for_start), .park = n->park, .claim_fd = n->park ? n->options->claim : -1,
	};
	cleanup_fd int start_fd = -1, console = -1;
	cleanup_fd int far_end = fds[1];
	if (wait_for_start && (n->init.start_fd = start_fd = listen_for_start(n->state_dir, err)) < 0)
		return start_fd;
	if ((r = check_console(n, wait_for_start, err)) < 0)
		return r;
	if (n->options->console_socket && (n->init.console_socket = console = engine_connect(n->options->console_socket, "console socket", err)) < 0)
		return console;
	if (c->process.terminal && !n->options->console_socket && (n->init.console_socket = console = terminal_offer(&n->terminal, &c->process, err)) < 0)
		return console;
	if ((r = ns_open(c, n->init.ns_fds, err)) < 0)
		return r;
	process_own_stdio(c);
	pid_t pid = 0;
	r = spawn_init(&n->init, n->sync_fd, &pid, err);
	/* They are the container's now; this process may live as long as it and must not pin its mounts. */
	ns_close(n->init.ns_fds);
	prepare_release(c, &n->prepared);
	seccomp_listener_release(&n->listener);
	n->state.pid = pid;
	/* Without this copy the end of init is the end of the conversation. */
	close(take_fd(&far_end));
	if (r == 0)
		r = release_init(n, err);
	return r < 0 ? sync_cause(n->sync_fd, r, err) : 0;
}

int creation_make(struct creation *n, bool wait_for_start, struct rt_error *err)
{
	const struct container_options *o = n->options;
	int r = state_check_id(o->id, err);
	if (o->no_pivot)
		r = rt_fail(err, ENOTSUP, "--no-pivot: a root file system entered without pivot_root can be left; put it on a file system that is not the initramfs");
	if (r < 0 || (r = read_bundle(n, err)) < 0 || (n->park && (r = claim_check_parkable(&n->config, err)) < 0))
		return r;
	/* Not before: the runtime may have run itself once more. */
	if (n->park && fcntl(o->claim, F_SETFD, FD_CLOEXEC) < 0)
		return rt_fail_errno(err, "keep --claim to itself");
	if (!wait_for_start && (r = process_check_given(&n->config.process, err)) < 0)
		return r;
	n->state_dir = state_make(o->root, o->id, err);
	if (n->state_dir < 0)
		return n->state_dir;
	n->has_state = true;
	if (!n->park && ((r = notify_prepare(&n->config, &n->prepared, n->state_dir, err)) < 0 ||
			 (!wait_for_start && (r = notify_listen(n->state_dir, &n->notify_fd, err)) < 0)))
		return r;
	now_rfc3339(n->created, sizeof n->created);
	/* On record before it exists: whatever happens to this process, `delete` finds the cgroup. */
	if ((r = state_save_config(n->state_dir, &n->config, err)) < 0 || (r = creation_save(n, 0, err)) < 0)
		return r;
	n->cgroups.path = n->cgroups_path;
	if ((r = cgroups_create(&n->cgroups, &n->config, err)) < 0)
		return r;
	n->has_cgroup = true;
	return make_process(n, wait_for_start, err);
}

void creation_undo(struct creation *n)
{
	struct rt_error ignored = { 0 };
	if (n->state.pid > 0) {
		kill(n->state.pid, SIGKILL);
		retry_eintr(waitpid(n->state.pid, NULL, __WALL));
	}
	if (n->has_pid_file)
		unlink(n->options->pid_file);
	if (n->has_cgroup && cgroups_kill(&n->cgroups.layout, n->cgroups_path, &ignored) == 0 &&
	    cgroups_remove(&n->cgroups.layout, n->cgroups_path, &ignored) < 0)
		return; /* the state stays, so that `delete` can try again */
	if (n->has_state && state_remove(n->options->root, n->options->id, n->state_dir, &ignored) < 0)
		return;
	/* Other hooks may have run, and what they set up is torn down by these (runtime-spec "Lifecycle"). */
	if (n->state.pid > 0) {
		struct state gone = n->state;
		gone.doc = n->config.doc;
		lifecycle_hooks(&gone, HOOK_POSTSTOP, STATUS_STOPPED);
	}
}

void creation_release(struct creation *n)
{
	if (n->state_dir >= 0)
		close(n->state_dir);
	if (n->sync_fd >= 0)
		close(n->sync_fd);
	if (n->notify_fd >= 0)
		close(n->notify_fd);
	if (n->cgroups.v2_fd >= 0)
		close(n->cgroups.v2_fd);
	terminal_close(&n->terminal);
	seccomp_listener_release(&n->listener);
	seccomp_free(&n->filter);
	config_free(&n->config);
}

/* The last step of all: the engine may end the process as soon as it has this. */
static int send_pidfd(const struct creation *n, struct rt_error *err)
{
	const char *socket = n->options->pidfd_socket;
	return socket ? engine_send_pidfd(socket, n->state.pid, err) : 0;
}

int container_create(const struct container_options *o, struct rt_error *err)
{
	struct creation n = CREATION_OF(o);
	int r = creation_make(&n, true, err);
	if (r == 0)
		r = send_pidfd(&n, err);
	if (r < 0)
		creation_undo(&n);
	creation_release(&n);
	return r;
}

/* The way out of `run`, by what is still in memory. */
static int clear_ended(struct creation *n, struct rt_error *err)
{
	const struct container_options *o = n->options;
	int r = state_lock(n->state_dir, o->id, err);
	if (r < 0)
		return r;
	/* Somebody else has deleted it; another of the same name is not this one. */
	if (r > 0)
		return 0;
	struct state s = n->state;
	s.doc = n->config.doc;
	return lifecycle_clear(o, n->state_dir, &s, &n->cgroups.layout, err);
}

/* The record knows the hooks only after a load; config.json has them under the same name. */
static void run_poststart(const struct creation *n)
{
	struct state s = n->state;
	s.doc = n->config.doc;
	lifecycle_hooks(&s, HOOK_POSTSTART, STATUS_RUNNING);
}

static int attend(struct creation *n, int *status, struct rt_error *err)
{
	const struct container_options *o = n->options;
	pid_t beside = n->notify_fd < 0 ? -1 : notify_wait_beside(take_fd(&n->notify_fd), n->state.pid);
	int r = terminal_is_offered(&n->terminal) ? terminal_proxy(&n->terminal, n->state.pid, status, err) : process_wait(n->state.pid, status, err);
	if (beside > 0)
		retry_eintr(waitpid(beside, NULL, 0));
	if (r < 0 || o->keep)
		return r;
	return clear_ended(n, err);
}

int container_run(const struct container_options *o, int *status, struct rt_error *err)
{
	struct creation n = CREATION_OF(o);
	struct sync_message m;
	sigset_t all;
	sigfillset(&all);
	/* Before the clone, so that no signal is lost in between. Init clears its own mask. */
	if (!o->detach)
		sigprocmask(SIG_BLOCK, &all, NULL);
	int r = creation_make(&n, false, err);
	if (r == 0 && n.init.asks_to_exec)
		r = sync_send(n.sync_fd, SYNC_GO, err);
	if (r == 0)
		r = sync_receive(n.sync_fd, &m, err);
	if (r == 0)
		r = send_pidfd(&n, err);
	if (r < 0) {
		creation_undo(&n);
	} else {
		run_poststart(&n);
		/* The record is open to others while the container runs. */
		if (flock(n.state_dir, LOCK_UN) < 0)
			r = rt_fail_errno(err, "unlock the state of %s", o->id);
		else if (!o->detach)
			r = attend(&n, status, err);
		else if (n.notify_fd >= 0)
			notify_wait(take_fd(&n.notify_fd), n.state.pid, true);
	}
	creation_release(&n);
	return r;
}
