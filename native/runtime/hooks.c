#include "runtime/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"

/* The state is far smaller than a pipe, so one write fills it and the hook may read it or not. */
static int state_pipe(const char *state_json, int *out, struct rt_error *err)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return rt_fail_errno(err, "make a pipe");
	cleanup_fd int write_end = fds[1];
	*out = fds[0];
	if (fcntl(write_end, F_SETFL, O_NONBLOCK) < 0)
		return rt_fail_errno(err, "make a pipe");
	int r = fs_write_all(write_end, state_json, strlen(state_json));
	return r < 0 ? rt_fail(err, r, "write the state to a hook") : 0;
}

static _Noreturn void become_hook(const struct hook_spec *h, int in)
{
	static const char *const none[] = { NULL };
	const char *const name_only[] = { h->path, NULL };
	sigset_t empty;
	sigemptyset(&empty);
	sigprocmask(SIG_SETMASK, &empty, NULL);
	if (dup2(in, 0) < 0 || syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		_exit(127);
	execve(h->path, (char *const *)(h->args.count ? h->args.at : name_only), (char *const *)(h->env.count ? h->env.at : none));
	_exit(127);
}

static int wait_hook(const struct hook_spec *h, const char *stage, pid_t pid, struct rt_error *err)
{
	int status;
	cleanup_fd int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	bool late = fd < 0 || retry_eintr(poll(&p, 1, h->timeout_s ? (int)h->timeout_s * 1000 : -1)) == 0;
	if (late)
		kill(pid, SIGKILL);
	if (retry_eintr(waitpid(pid, &status, 0)) < 0)
		return rt_fail_errno(err, "wait for hook %s", h->path);
	if (late)
		return rt_fail(err, ETIMEDOUT, "%s hook %s", stage, h->path);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return rt_fail(err, EINVAL, "%s hook %s failed with status %d", stage, h->path, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}

int hooks_run(const struct hook_list *hooks, const char *stage, const char *state_json, struct rt_error *err)
{
	for (size_t i = 0; i < hooks->count; i++) {
		cleanup_fd int in = -1;
		int r = state_pipe(state_json, &in, err);
		if (r < 0)
			return r;
		pid_t pid = fork();
		if (pid < 0)
			return rt_fail_errno(err, "run hook %s", hooks->at[i].path);
		if (pid == 0)
			become_hook(&hooks->at[i], in);
		if ((r = wait_hook(&hooks->at[i], stage, pid, err)) < 0)
			return r;
	}
	return 0;
}
