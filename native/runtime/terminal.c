#include "runtime/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"

#define CHUNK 4096
#define END_OF_INPUT 4 /* ^D */

/* A descriptor of the terminal this process runs in; -1 when stdio is none. */
static int own_terminal(void)
{
	for (int fd = 0; fd < 3; fd++) {
		if (isatty(fd))
			return fd;
	}
	return -1;
}

int terminal_offer(struct terminal *t, struct process_spec *p, struct rt_error *err)
{
	struct winsize size;
	int fds[2], own = own_terminal();
	if (!p->console_width && !p->console_height && own >= 0 && ioctl(own, TIOCGWINSZ, &size) == 0) {
		p->console_width = size.ws_col;
		p->console_height = size.ws_row;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return rt_fail_errno(err, "create a socket pair");
	t->socket = fds[0];
	/* What comes out of it goes to a terminal that does so itself, or to a file or pipe that wants none. */
	p->console_bare = true;
	return fds[1];
}

void terminal_close(struct terminal *t)
{
	scope_close(&t->socket);
	t->socket = -1;
}

static int receive_master(int sock, struct rt_error *err)
{
	char name[64];
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct iovec iov = { name, sizeof name };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
	int master;
	if (retry_eintr(recvmsg(sock, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)) < 0)
		return rt_fail_errno(err, "receive the terminal");
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return rt_fail(err, EPROTO, "no terminal was sent");
	memcpy(&master, CMSG_DATA(c), sizeof master);
	return master;
}

struct proxy {
	int master, signals;
	pid_t pid;
	bool input, output;      /* still open */
	bool ended;
	int status;
	char pending[CHUNK];     /* input that the terminal has not taken yet */
	size_t first, count;
};

static void copy_size(int master)
{
	struct winsize size;
	int fd = own_terminal();
	if (fd >= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0)
		ioctl(master, TIOCSWINSZ, &size);
}

static void reap(struct proxy *p)
{
	int ws;
	if (waitpid(p->pid, &ws, WNOHANG | __WALL) != p->pid)
		return;
	p->ended = true;
	p->status = WIFSIGNALED(ws) ? 128 + WTERMSIG(ws) : WEXITSTATUS(ws);
}

static void take_signal(struct proxy *p)
{
	struct signalfd_siginfo s;
	if (read(p->signals, &s, sizeof s) != (ssize_t)sizeof s)
		return;
	if (s.ssi_signo == SIGCHLD)
		reap(p);
	else if (s.ssi_signo == SIGWINCH)
		copy_size(p->master);
	else if (s.ssi_signo != SIGURG)
		kill(p->pid, (int)s.ssi_signo);
}

static void take_input(struct proxy *p)
{
	ssize_t n = retry_eintr(read(STDIN_FILENO, p->pending, sizeof p->pending));
	p->first = 0;
	p->count = n > 0 ? (size_t)n : 0;
	if (n > 0)
		return;
	p->input = false;
	/* The end of a pipe is no event of a terminal: a key says it there. */
	p->pending[0] = END_OF_INPUT;
	p->count = 1;
}

static void give_input(struct proxy *p)
{
	ssize_t n = write(p->master, p->pending + p->first, p->count);
	if (n > 0) {
		p->first += (size_t)n;
		p->count -= (size_t)n;
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		p->count = 0;
		p->input = false;
	}
}

/* False when there is nothing more to take. */
static bool take_output(struct proxy *p)
{
	char buf[CHUNK];
	ssize_t n = read(p->master, buf, sizeof buf);
	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0) {
		/* EIO: no process has the terminal open, which is so before the first opens it, too. */
		p->output = n < 0 && errno == EAGAIN;
		return false;
	}
	if (fs_write_all(STDOUT_FILENO, buf, (size_t)n) < 0)
		p->output = false;
	return true;
}

static void copy(struct proxy *p)
{
	p->input = p->output = true;
	while (!p->ended) {
		short master = (short)((p->output ? POLLIN : 0) | (p->count ? POLLOUT : 0));
		struct pollfd fds[] = { { .fd = p->signals, .events = POLLIN },
					{ .fd = master ? p->master : -1, .events = master },
					{ .fd = p->input && !p->count ? STDIN_FILENO : -1, .events = POLLIN } };
		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			return;
		if (fds[0].revents)
			take_signal(p);
		if ((fds[1].revents & (POLLIN | POLLHUP | POLLERR)) && p->output)
			take_output(p);
		if ((fds[1].revents & (POLLOUT | POLLHUP | POLLERR)) && p->count)
			give_input(p);
		if (fds[2].revents)
			take_input(p);
	}
	while (p->output && take_output(p))
		;
}

int terminal_proxy(struct terminal *t, pid_t pid, int *status, struct rt_error *err)
{
	struct termios saved, raw;
	sigset_t all;
	sigfillset(&all);
	cleanup_fd int master = receive_master(t->socket, err);
	terminal_close(t);
	if (master < 0)
		return master;
	cleanup_fd int signals = signalfd(-1, &all, SFD_CLOEXEC);
	if (signals < 0 || fcntl(master, F_SETFL, O_NONBLOCK) < 0)
		return rt_fail_errno(err, "watch the terminal");
	int own = isatty(STDIN_FILENO) ? STDIN_FILENO : -1;
	bool is_raw = own >= 0 && tcgetattr(own, &saved) == 0;
	if (is_raw) {
		raw = saved;
		cfmakeraw(&raw);
		raw.c_oflag = saved.c_oflag;
		is_raw = tcsetattr(own, TCSANOW, &raw) == 0;
	}
	struct proxy p = { .master = master, .signals = signals, .pid = pid };
	/* It may have ended before the signal was looked for. */
	reap(&p);
	copy(&p);
	if (is_raw)
		tcsetattr(own, TCSANOW, &saved);
	*status = p.status;
	return p.ended ? 0 : rt_fail_errno(err, "watch the terminal");
}
