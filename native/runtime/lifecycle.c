#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cgroup.h"
#include "common/fs.h"
#include "common/scope.h"
#include "runtime/cgroups.h"
#include "runtime/container.h"
#include "runtime/lifecycle.h"
#include "runtime/freezer.h"
#include "runtime/hooks.h"
#include "runtime/log.h"
#include "runtime/notify.h"
#include "runtime/state.h"
#include "runtime/sync.h"

int container_open(const struct container_options *o, bool exclusive, struct state *s, struct rt_error *err)
{
	int r = state_check_id(o->id, err);
	if (r < 0)
		return r;
	cleanup_fd int dir = state_open(o->root, o->id, exclusive, err);
	if (dir < 0 || (r = state_load(dir, s, err)) < 0)
		return dir < 0 ? dir : r;
	return take_fd(&dir);
}

void lifecycle_hooks(const struct state *s, enum hook_stage stage, enum status now)
{
	struct config c = { .doc = s->doc };
	struct rt_error err = { 0 };
	if (!s->hooks || !s->doc)
		return;
	cleanup_free char *text = state_to_json(s, now);
	if (!text || config_parse_hooks(&c, json_root(s->doc), &err) < 0) {
		log_warning("%s hooks: %s", hook_stage_names[stage], err.text);
		return;
	}
	/* The specification has a failure here logged, and the other hooks run: the container has its way already. */
	for (size_t i = 0; i < c.hooks[stage].count; i++) {
		struct rt_error failure = { 0 };
		struct hook_list one = { &c.hooks[stage].at[i], 1 };
		if (hooks_run(&one, hook_stage_names[stage], text, NULL, &failure) < 0)
			log_warning("%s", failure.text);
	}
}

int container_start(const struct container_options *o, struct rt_error *err)
{
	cleanup_state struct state s = { 0 };
	cleanup_fd int dir = container_open(o, true, &s, err);
	if (dir < 0)
		return dir;
	enum status now = state_status(dir, &s);
	if (now != STATUS_CREATED)
		return rt_fail(err, EINVAL, "container %s is %s, not created", o->id, status_name(now));
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	snprintf(addr.sun_path, sizeof addr.sun_path, "/proc/self/fd/%d/%s", dir, STATE_START_SOCKET);
	cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
		return rt_fail_errno(err, "start container %s", o->id);
	struct sync_message m;
	cleanup_fd int notify = -1;
	int r = notify_listen(dir, &notify, err);
	if (r < 0)
		return r;
	r = sync_send(fd, SYNC_GO, err);
	if (unlinkat(dir, STATE_START_SOCKET, 0) < 0 && r == 0)
		r = rt_fail_errno(err, "start container %s", o->id);
	/* The exec closes the socket; a failed one says why. */
	if (r < 0 || (r = sync_receive(fd, &m, err)) < 0)
		return r;
	lifecycle_hooks(&s, HOOK_POSTSTART, STATUS_RUNNING);
	if (notify >= 0) {
		/* The record is open to others while the program gets ready. */
		flock(dir, LOCK_UN);
		notify_wait(take_fd(&notify), s.pid, true);
	}
	return 0;
}

int container_state(const struct container_options *o, struct rt_error *err)
{
	cleanup_state struct state s = { 0 };
	cleanup_fd int dir = container_open(o, false, &s, err);
	if (dir < 0)
		return dir;
	s.id = o->id;
	cleanup_free char *text = state_to_json(&s, state_status_whole(dir, &s));
	if (!text)
		return rt_fail(err, ENOMEM, "state of %s", o->id);
	if (printf("%s\n", text) < 0 || fflush(stdout) != 0)
		return rt_fail_errno(err, "write the state");
	return 0;
}

#define DYING_MS 100
#define SCHEDULED_MS 100

static int thaw(const struct state *s, struct rt_error *err)
{
	struct cg_layout layout;
	if (!s->cgroups_path || cg_detect(&layout, err) < 0)
		return -err->code;
	return freezer_is_frozen(&layout, s->cgroups_path) ? freezer_set(&layout, s->cgroups_path, false, err) : 0;
}

/* Without a pid namespace of its own the end of the first process is not that of the others. */
static int kill_rest(const struct state *s, bool *any, struct rt_error *err)
{
	struct cg_layout layout;
	cleanup_free pid_t *pids = NULL;
	size_t count = 0;
	int r;
	if (!s->cgroups_path)
		return 0;
	if ((r = cg_detect(&layout, err)) < 0 || (r = cgroups_processes(&layout, s->cgroups_path, &pids, &count, err)) < 0)
		return r;
	*any = count > 0;
	return count ? cgroups_kill(&layout, s->cgroups_path, err) : 0;
}

int container_kill(const struct container_options *o, struct rt_error *err)
{
	cleanup_state struct state s = { 0 };
	cleanup_fd int dir = container_open(o, true, &s, err);
	if (dir < 0)
		return dir;
	if (o->all && s.cgroups_path) {
		struct cg_layout layout;
		int r = cg_detect(&layout, err);
		if (r < 0)
			return r;
		return o->signal == SIGKILL ? cgroups_kill(&layout, s.cgroups_path, err) : cgroups_signal(&layout, s.cgroups_path, o->signal, err);
	}
	cleanup_fd int fd = state_pidfd(&s);
	bool any = false;
	int r;
	if (fd == -ESRCH && o->signal == SIGKILL && (r = kill_rest(&s, &any, err)) < 0)
		return r;
	if (fd == -ESRCH)
		return any ? 0 : rt_fail(err, EINVAL, "container not running: %s", o->id);
	if (fd < 0)
		return rt_fail(err, fd, "open the process of %s", o->id);
	if (syscall(SYS_pidfd_send_signal, fd, o->signal, NULL, 0) < 0)
		return rt_fail_errno(err, "signal container %s", o->id);
	if (o->signal != SIGKILL)
		return 0;
	/* In a frozen v1 cgroup not even this signal is heard. */
	return (r = thaw(&s, err)) < 0 ? r : kill_rest(&s, &any, err);
}

/*
 * Whether the killed process ends. One that somebody moved into a frozen v1 cgroup of theirs cannot: it comes back into the
 * container's, which is not frozen, and theirs stays as it is.
 */
static bool ends(const struct state *s, const struct cg_layout *layout, int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	if (retry_eintr(poll(&p, 1, SCHEDULED_MS)) != 0)
		return true;
	if (s->cgroups_path) {
		struct rt_error ignored = { 0 };
		struct cgroups own = { .layout = *layout, .path = s->cgroups_path, .v2_fd = -1 };
		if (cgroups_attach(&own, s->pid, &ignored) < 0)
			log_debug("%s", ignored.text);
	}
	return retry_eintr(poll(&p, 1, CGROUPS_REMOVE_MS)) != 0;
}

/* First the container's process, with which a pid namespace ends; then whatever else is in the cgroup. */
static int kill_everything(const struct state *s, const struct cg_layout *layout, struct rt_error *err)
{
	cleanup_fd int fd = state_pidfd(s);
	if (fd >= 0) {
		if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
			return rt_fail_errno(err, "kill the container's process");
		if (s->cgroups_path && freezer_is_frozen(layout, s->cgroups_path) && freezer_set(layout, s->cgroups_path, false, err) < 0)
			return -err->code;
		if (!ends(s, layout, fd))
			return rt_fail(err, EBUSY, "the container's process does not die");
	}
	return s->cgroups_path ? cgroups_kill(layout, s->cgroups_path, err) : 0;
}

int lifecycle_clear(const struct container_options *o, int dir, const struct state *s, const struct cg_layout *layout, struct rt_error *err)
{
	int r = s->cgroups_path ? cgroups_remove_empty(layout, s->cgroups_path, err) : 0;
	if (r > 0 && (r = cgroups_kill(layout, s->cgroups_path, err)) == 0)
		r = cgroups_remove(layout, s->cgroups_path, err);
	if (r < 0 || (r = state_remove(o->root, o->id, dir, err)) < 0)
		return r;
	lifecycle_hooks(s, HOOK_POSTSTOP, STATUS_STOPPED);
	return 0;
}

/* A delete right behind the kill finds the process on its way out. */
static bool is_dying(const struct state *s)
{
	cleanup_fd int fd = state_pidfd(s);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	return fd >= 0 ? retry_eintr(poll(&p, 1, DYING_MS)) > 0 : fd == -ESRCH;
}

int container_delete(const struct container_options *o, struct rt_error *err)
{
	cleanup_state struct state s = { 0 };
	int r;
	cleanup_fd int dir = container_open(o, true, &s, err);
	if (dir == -ENOENT && o->force) {
		*err = (struct rt_error){ 0 };
		return 0;
	}
	if (dir < 0)
		return dir;
	enum status now = state_status(dir, &s);
	if (now == STATUS_RUNNING && !o->force && is_dying(&s))
		now = STATUS_STOPPED;
	if (now != STATUS_STOPPED && !o->force)
		return rt_fail(err, EINVAL, "container %s is %s, not stopped", o->id, status_name(state_status_whole(dir, &s)));
	struct cg_layout layout;
	/* An ordinary user's container may be in no cgroup of its own. */
	if ((s.cgroups_path && (r = cg_detect(&layout, err)) < 0) || (now != STATUS_STOPPED && (r = kill_everything(&s, &layout, err)) < 0))
		return r;
	return lifecycle_clear(o, dir, &s, &layout, err);
}
