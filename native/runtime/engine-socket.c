#include "runtime/engine-socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/scope.h"

int engine_connect(const char *path, const char *what, struct rt_error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof addr.sun_path)
		return rt_fail(err, ENAMETOOLONG, "%s %s", what, path);
	strcpy(addr.sun_path, path);
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
		return rt_fail_errno(err, "connect to the %s %s", what, path);
	return take_fd(&fd);
}

int engine_send(int sock, int fd, const char *name, const char *what, struct rt_error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct iovec iov = { (void *)name, strlen(name) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	if (retry_eintr(sendmsg(sock, &m, MSG_NOSIGNAL)) < 0)
		return rt_fail_errno(err, "send the %s to the engine", what);
	return 0;
}

int engine_send_pidfd(const char *path, pid_t pid, struct rt_error *err)
{
	cleanup_fd int sock = engine_connect(path, "pidfd socket", err);
	if (sock < 0)
		return sock;
	cleanup_fd int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return pidfd < 0 ? rt_fail_errno(err, "open a pidfd of process %d", pid) : engine_send(sock, pidfd, "pidfd", "pidfd", err);
}
