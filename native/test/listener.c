/*
 * listener SOCKET COUNT: takes COUNT processes from a runtime, prints what it says of each, and answers their notified
 * syscalls until they are gone: getppid(2) returns 4242, mkdir(2) fails with EDOM, all others go on.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/scope.h"

static int receive(int sock)
{
	static char text[1 << 16];
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { text, sizeof text - 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
	int fd;
	ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	printf("%.*s\n", (int)n, text);
	fflush(stdout);
	return fd;
}

static void answer(int fd)
{
	for (;;) {
		struct seccomp_notif ask = { 0 };
		struct seccomp_notif_resp say = { 0 };
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (poll(&p, 1, -1) < 0 || (p.revents & POLLHUP))
			return;
		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &ask) < 0)
			continue;
		say.id = ask.id;
		if (ask.data.nr == SYS_getppid)
			say.val = 4242;
		else if (ask.data.nr == SYS_mkdir)
			say.error = -EDOM;
		else
			say.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &say);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	if (argc != 3)
		return 2;
	strncpy(addr.sun_path, argv[1], sizeof addr.sun_path - 1);
	cleanup_fd int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || bind(sock, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(sock, 8) < 0)
		return 1;
	for (int i = atoi(argv[2]); i > 0; i--) {
		cleanup_fd int from = accept4(sock, NULL, NULL, SOCK_CLOEXEC);
		cleanup_fd int fd = from < 0 ? -1 : receive(from);
		if (fd < 0)
			return 1;
		if (fork() == 0) {
			answer(fd);
			_exit(0);
		}
	}
	return 0;
}
