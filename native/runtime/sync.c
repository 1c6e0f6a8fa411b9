#include "runtime/sync.h"

#include <errno.h>
#include <sys/socket.h>

#include "common/scope.h"

int sync_pair(int fds[2], struct rt_error *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return rt_fail_errno(err, "create a socket pair");
	return 0;
}

static int send_message(int fd, const struct sync_message *m, struct rt_error *err)
{
	/* Short for all but errors: the text is most of the struct. */
	size_t len = m->kind == SYNC_ERROR ? sizeof *m : __builtin_offsetof(struct sync_message, error);
	if (retry_eintr(send(fd, m, len, MSG_NOSIGNAL)) < 0)
		return rt_fail_errno(err, "talk to the other process");
	return 0;
}

int sync_send(int fd, enum sync_kind kind, struct rt_error *err)
{
	struct sync_message m = { .kind = kind };
	return send_message(fd, &m, err);
}

int sync_send_pid(int fd, enum sync_kind kind, pid_t pid, struct rt_error *err)
{
	struct sync_message m = { .kind = kind, .pid = pid };
	return send_message(fd, &m, err);
}

void sync_send_error(int fd, const struct rt_error *error)
{
	struct sync_message m = { .kind = SYNC_ERROR, .error = *error };
	struct rt_error ignored = { 0 };
	if (send_message(fd, &m, &ignored) < 0)
		return;
}

int sync_receive(int fd, struct sync_message *m, struct rt_error *err)
{
	*m = (struct sync_message){ 0 };
	ssize_t n = retry_eintr(recv(fd, m, sizeof *m, 0));
	/* The other side ended with a message of ours unread, which is told once, and before its own last words. */
	if (n < 0 && errno == ECONNRESET)
		n = retry_eintr(recv(fd, m, sizeof *m, 0));
	if (n < 0 && errno != ECONNRESET)
		return rt_fail_errno(err, "listen to the other process");
	if (n <= 0) {
		m->kind = SYNC_EOF;
		return 0;
	}
	if (m->kind == SYNC_ERROR) {
		m->error.text[sizeof m->error.text - 1] = 0;
		return rt_fail(err, m->error.code, "%s", m->error.text);
	}
	return 0;
}

int sync_expect(int fd, enum sync_kind kind, struct sync_message *m, struct rt_error *err)
{
	int r = sync_receive(fd, m, err);
	if (r < 0)
		return r;
	if (m->kind == SYNC_EOF)
		return rt_fail(err, ECONNRESET, "the other process ended without a word");
	return m->kind == (int)kind ? 0 : rt_fail(err, EPROTO, "message %d where %d was expected", m->kind, kind);
}

int sync_cause(int fd, int result, struct rt_error *err)
{
	struct sync_message m;
	for (int i = 0; i < 2; i++) {
		ssize_t n = retry_eintr(recv(fd, &m, sizeof m, MSG_DONTWAIT));
		if (n == sizeof m && m.kind == SYNC_ERROR) {
			m.error.text[sizeof m.error.text - 1] = 0;
			*err = (struct rt_error){ 0 };
			return rt_fail(err, m.error.code, "%s", m.error.text);
		}
	}
	return result;
}
