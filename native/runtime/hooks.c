#include "runtime/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
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

static _Noreturn void become_hook(const struct hook_spec *h, const char *const *env, int in, int complaint)
{
	static const char *const none[] = { NULL };
	const char *const name_only[] = { h->path, NULL };
	sigset_t empty;
	sigemptyset(&empty);
	sigprocmask(SIG_SETMASK, &empty, NULL);
	if (dup2(in, 0) < 0 || dup2(complaint, 2) < 0 || syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		_exit(127);
	if (h->env.count)
		env = h->env.at;
	execve(h->path, (char *const *)(h->args.count ? h->args.at : name_only), (char *const *)(env ? env : none));
	_exit(127);
}

/* What is there to read, into a buffer of `size` bytes with its end kept free; what does not fit is dropped. */
static void take_complaint(int fd, char *text, size_t size)
{
	char chunk[512];
	ssize_t n;
	while ((n = retry_eintr(read(fd, chunk, sizeof chunk))) > 0) {
		size_t used = strlen(text);
		/* A hook inside the container speaks for the image: nothing of it may steer a terminal or end the line. */
		for (ssize_t i = 0; i < n && used + 1 < size; i++)
			text[used++] = chunk[i] > ' ' && chunk[i] < 0x7f ? chunk[i] : ' ';
	}
}

/* Whether the hook ended in time. Its standard error is read meanwhile, so that it never waits for a full pipe. */
static bool await_hook(const struct hook_spec *h, pid_t pid, int complaint, char *text, size_t size)
{
	/* A filter of the container's may bar pidfd_open; the end of its standard error is then the hook's. */
	cleanup_fd int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p[] = { { .fd = complaint, .events = POLLIN }, { .fd = pidfd, .events = POLLIN } };
	struct timespec end = { 0 }, now;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += (time_t)h->timeout_s;
	for (;;) {
		int left = -1;
		if (h->timeout_s) {
			clock_gettime(CLOCK_MONOTONIC, &now);
			long long ms = (end.tv_sec - now.tv_sec) * 1000LL + (end.tv_nsec - now.tv_nsec) / 1000000;
			left = ms > 0 ? (int)(ms < INT_MAX ? ms : INT_MAX) : 0;
		}
		int n = retry_eintr(poll(p, 2, left));
		take_complaint(complaint, text, size);
		if (n <= 0)
			return false;
		if (p[1].revents || (pidfd < 0 && (p[0].revents & POLLHUP)))
			return true;
		/* A hook may close its standard error and go on. */
		if (p[0].revents & POLLHUP)
			p[0].fd = -1;
	}
}

static int wait_hook(const struct hook_spec *h, const char *stage, pid_t pid, int complaint, struct rt_error *err)
{
	int status;
	char said[RT_ERROR_TEXT / 2] = "";
	bool in_time = await_hook(h, pid, complaint, said, sizeof said);
	if (!in_time)
		kill(pid, SIGKILL);
	if (retry_eintr(waitpid(pid, &status, 0)) < 0)
		return rt_fail_errno(err, "wait for hook %s", h->path);
	for (size_t n = strlen(said); n && said[n - 1] == ' '; n--)
		said[n - 1] = '\0';
	const char *colon = *said ? ": " : "";
	if (!in_time)
		return rt_fail(err, ETIMEDOUT, "%s hook %s%s%s", stage, h->path, colon, said);
	if (WIFSIGNALED(status))
		return rt_fail(err, EINVAL, "%s hook %s was killed by signal %d%s%s", stage, h->path, WTERMSIG(status), colon, said);
	if (WEXITSTATUS(status) != 0)
		return rt_fail(err, EINVAL, "%s hook %s failed with status %d%s%s", stage, h->path, WEXITSTATUS(status), colon, said);
	return 0;
}

static int run_hook(const struct hook_spec *h, const char *stage, const char *state_json, const char *const *env, struct rt_error *err)
{
	cleanup_fd int in = -1;
	int r = state_pipe(state_json, &in, err);
	if (r < 0)
		return r;
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return rt_fail_errno(err, "make a pipe");
	cleanup_fd int complaint = fds[0];
	cleanup_fd int write_end = fds[1];
	if (fcntl(complaint, F_SETFL, O_NONBLOCK) < 0)
		return rt_fail_errno(err, "make a pipe");
	pid_t pid = fork();
	if (pid < 0)
		return rt_fail_errno(err, "run hook %s", h->path);
	if (pid == 0)
		become_hook(h, env, in, write_end);
	close(take_fd(&write_end));
	return wait_hook(h, stage, pid, complaint, err);
}

int hooks_run(const struct hook_list *hooks, const char *stage, const char *state_json, const char *const *env, struct rt_error *err)
{
	int r = 0;
	for (size_t i = 0; i < hooks->count && r == 0; i++)
		r = run_hook(&hooks->at[i], stage, state_json, env, err);
	return r;
}
