#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/claim.h"
#include "runtime/creation.h"
#include "runtime/limits.h"
#include "runtime/process.h"
#include "runtime/sync.h"

/* The words of the claim's descriptor; see container.h. */
#define WORD_PARKED 'P'
#define WORD_CLAIM 'C'

/* Says in the record that the program does not run yet, as the socket of a created container would. */
static int mark_created(const struct creation *n, struct rt_error *err)
{
	cleanup_fd int fd = openat(n->state_dir, STATE_START_SOCKET, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? rt_fail_errno(err, "record that %s is parked", n->options->id) : 0;
}

/* Waits with the record open to others. Returns with it locked again, or 1 when somebody removed it. */
static int await_claim(const struct creation *n, struct rt_error *err)
{
	int claim = n->options->claim, r = 0;
	char word = WORD_PARKED;
	if (flock(n->state_dir, LOCK_UN) < 0 || retry_eintr(write(claim, &word, 1)) != 1)
		return rt_fail_errno(err, "tell that %s is parked", n->options->id);
	struct pollfd fds[] = { { .fd = claim, .events = POLLIN }, { .fd = n->sync_fd, .events = POLLIN } };
	struct sync_message m;
	if (retry_eintr(poll(fds, 2, -1)) < 0)
		r = rt_fail_errno(err, "wait for a claim");
	else if (fds[1].revents && (r = sync_receive(n->sync_fd, &m, err)) == 0)
		r = rt_fail(err, ECONNRESET, "the parked container ended");
	else if (r == 0 && (retry_eintr(read(claim, &word, 1)) != 1 || word != WORD_CLAIM))
		r = rt_fail(err, ECANCELED, "nobody claims the parked container");
	struct rt_error second = { 0 };
	int locked = state_lock(n->state_dir, n->options->id, r < 0 ? &second : err);
	return locked != 0 ? locked : r;
}

/* Into the container's namespace for a moment that lasts: this process has nothing else to do there, and ends. */
static int set_hostname(const struct creation *n, struct rt_error *err)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/uts", n->state.pid);
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWUTS) < 0 || sethostname(n->config.hostname, strlen(n->config.hostname)) < 0)
		return rt_fail_errno(err, "set the host name");
	return 0;
}

/* Makes the claim's config this container's: on record, for the processes that come later, and in its cgroup. */
static int adopt(struct creation *n, int bundle, struct config *claimed, struct prepared *trees, struct rt_error *err)
{
	int r;
	if ((r = config_load(bundle, "config.json", claimed, err)) < 0 || (r = claim_check(&n->config, claimed, n->park, err)) < 0)
		return r;
	if (n->park == PARK_BARE && ((r = limits_update(&n->cgroups.layout, n->cgroups_path, &claimed->resources, err)) < 0 ||
				     (r = prepare_trees(claimed, bundle, trees, err)) < 0))
		return r;
	config_free(&n->config);
	n->config = *claimed;
	*claimed = (struct config){ 0 };
	if (unlinkat(n->state_dir, "config.json", 0) < 0)
		return rt_fail_errno(err, "replace the record of %s", n->options->id);
	if ((r = creation_root_path(n, &n->config, n->rootfs, err)) < 0 || (r = state_save_config(n->state_dir, &n->config, err)) < 0)
		return r;
	return creation_save(n, n->state.pid, err);
}

static int run_claimed(struct creation *n, struct prepared *trees, struct rt_error *err)
{
	struct sync_message m;
	int r = set_hostname(n, err);
	if (r < 0 || (r = process_set_oom_score(&n->config.process, n->state.pid, err)) < 0)
		return r;
	process_own_stdio(&n->config);
	if ((r = claim_send(n->sync_fd, &n->config, n->park == PARK_BARE ? trees : NULL, err)) < 0 || (r = creation_finish(n, err)) < 0)
		return r;
	if (unlinkat(n->state_dir, STATE_START_SOCKET, 0) < 0)
		return rt_fail_errno(err, "start container %s", n->options->id);
	if ((r = sync_send(n->sync_fd, SYNC_GO, err)) < 0)
		return r;
	/* The exec closes the socket; a failed one says why. */
	return sync_receive(n->sync_fd, &m, err);
}

static int take_claim(struct creation *n, struct rt_error *err)
{
	struct config claimed = { 0 };
	struct prepared trees = { .rootfs = -1, .mask_file = -1 };
	cleanup_fd int bundle = openat(AT_FDCWD, n->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = bundle < 0 ? rt_fail_errno(err, "bundle %s", n->bundle) : adopt(n, bundle, &claimed, &trees, err);
	if (r == 0 && (r = run_claimed(n, &trees, err)) < 0)
		r = sync_cause(n->sync_fd, r, err);
	config_free(&claimed);
	return r;
}

int container_park(const struct container_options *o, struct rt_error *err)
{
	struct creation n = CREATION_OF(o);
	n.park = o->bare ? PARK_BARE : PARK_ROOT;
	if (o->claim < 3 || fcntl(o->claim, F_GETFD) < 0)
		return rt_fail(err, EINVAL, "--claim wants an open descriptor from 3 on");
	int r = creation_make(&n, false, err);
	if (r == 0 && (r = mark_created(&n, err)) == 0 && (r = await_claim(&n, err)) == 0)
		r = take_claim(&n, err);
	/* Removed by `delete` meanwhile: there is nothing to undo, and nothing to run. */
	if (r > 0) {
		n.has_state = n.has_cgroup = n.has_pid_file = false;
		r = rt_fail(err, ECANCELED, "the parked container was deleted");
	}
	if (r < 0)
		creation_undo(&n);
	creation_release(&n);
	return r;
}
