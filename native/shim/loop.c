#include "shim/loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim/clock.h"
#include "shim/container.h"
#include "shim/shim.h"

/* How stale a look at the lease page may be: the page is written without a message, to shorten as well as to extend. */
#define LEASE_LOOK (2 * CLOCK_SECOND)
#define KILL_AGAIN CLOCK_SECOND

int loop_open(struct shim *s, struct rt_error *err)
{
	sigset_t all, child;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	s->signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	s->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->signal_fd < 0 || s->timer_fd < 0)
		return rt_fail_errno(err, "opening the event loop");
	return 0;
}

static void reap(struct shim *s)
{
	for (;;) {
		int status;
		/* Before its pid is known the container's first process must stay a zombie, or its status would be lost. */
		pid_t pid = waitpid(s->pid ? -1 : s->runtime ? s->runtime : -1, &status, WNOHANG);
		if (pid <= 0)
			return;
		if (pid == s->runtime) {
			s->runtime = 0;
			s->runtime_status = status;
			if (!s->pid)
				return;
		} else if (pid == s->pid && !s->exited) {
			s->exited = true;
			s->end.status = status;
			clock_stamp(s->end.finished_at);
		}
	}
}

static void read_output(struct shim *s, enum log_stream stream, uint64_t now)
{
	size_t size;
	char *room = log_room(&s->log, stream, &size);
	ssize_t n = read(s->output[stream], room, size);
	if (n > 0) {
		log_took(&s->log, stream, (size_t)n, now);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(s->output[stream]);
		s->output[stream] = -1;
	}
}

static uint64_t lease_at(const struct shim *s)
{
	uint64_t at = s->lease ? __atomic_load_n(s->lease, __ATOMIC_RELAXED) : 0;
	return at ? at : CLOCK_NEVER;
}

static void keep_deadlines(struct shim *s, uint64_t now)
{
	if (!s->started || s->exited)
		return;
	if (now >= s->timeout_at) {
		s->timeout_at = CLOCK_NEVER;
		shim_stop(s, STOP_TIMEOUT, s->opt->stop_grace_ms);
	}
	if (!s->lease_over && now >= lease_at(s)) {
		s->lease_over = true;
		shim_stop(s, STOP_LEASE, s->opt->stop_grace_ms);
	}
	if (now >= s->kill_at) {
		kill(s->pid, SIGKILL);
		container_kill_cgroup(s->opt->cgroup);
		s->kill_at = clock_add(now, KILL_AGAIN);
	}
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t next_deadline(const struct shim *s, uint64_t now, uint64_t deadline)
{
	deadline = earlier(deadline, log_due(&s->log));
	if (!s->started || s->exited)
		return deadline;
	deadline = earlier(deadline, earlier(s->timeout_at, s->kill_at));
	if (s->lease && !s->lease_over)
		deadline = earlier(deadline, earlier(lease_at(s), clock_add(now, LEASE_LOOK)));
	return deadline;
}

/* Its one word, that the container waits; or its end. */
static void hear_runtime(struct shim *s)
{
	char word;
	if (read(s->claim_fd, &word, 1) == 1) {
		s->parked = true;
		return;
	}
	close(s->claim_fd);
	s->claim_fd = -1;
}

static void wait_for_event(struct shim *s, uint64_t now, uint64_t deadline)
{
	struct pollfd fds[3 + LOG_STREAMS + CONTROL_POLL_MAX] = {
		{ .fd = s->signal_fd, .events = POLLIN },
		{ .fd = s->timer_fd, .events = POLLIN },
		{ .fd = s->output[LOG_STDOUT], .events = POLLIN },
		{ .fd = s->output[LOG_STDERR], .events = POLLIN },
		{ .fd = s->claim_fd, .events = POLLIN },
	};
	size_t n = 5 + (s->started || s->parked ? control_poll(&s->control, fds + 5) : 0);
	deadline = next_deadline(s, now, deadline);
	struct itimerspec when = { 0 };
	if (deadline != CLOCK_NEVER) {
		/* 0 would disarm the timer. */
		deadline = deadline ? deadline : 1;
		when.it_value.tv_sec = (time_t)(deadline / CLOCK_SECOND);
		when.it_value.tv_nsec = (long)(deadline % CLOCK_SECOND);
	}
	timerfd_settime(s->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
	if (poll(fds, n, -1) < 0)
		return;
	struct signalfd_siginfo si;
	while (read(s->signal_fd, &si, sizeof si) > 0)
		;
	/* Exits before requests: a natural exit beats a stop that comes in the same moment. */
	reap(s);
	now = clock_boot();
	for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
		if (s->output[i] >= 0 && fds[2 + i].revents)
			read_output(s, i, now);
	}
	if (fds[4].revents)
		hear_runtime(s);
	control_serve(&s->control, s, fds + 5, n - 5);
}

bool loop_until(struct shim *s, bool (*done)(const struct shim *s), uint64_t deadline)
{
	for (;;) {
		uint64_t now = clock_boot();
		log_flush(&s->log, now);
		keep_deadlines(s, now);
		if (done(s))
			return true;
		if (now >= deadline)
			return false;
		wait_for_event(s, now, deadline);
	}
}
