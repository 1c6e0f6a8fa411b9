/*
 * console-engine SOCKET: an engine's end of --console-socket. Prints "listening", takes a terminal's master, prints
 * "size ROWS COLUMNS", and copies what comes out of the terminal until its last user is gone. Of --pidfd-socket: ends the process.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int receive_descriptor(int sock)
{
	char byte[64], control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { byte, sizeof byte };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	int fd = -1;
	if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC) > 0 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	return fd;
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct winsize size = { 0 };
	char buf[4096];
	if (argc != 2 || strlen(argv[1]) >= sizeof addr.sun_path)
		return 2;
	strcpy(addr.sun_path, argv[1]);
	int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server < 0 || bind(server, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(server, 1) < 0)
		return 1;
	printf("listening\n");
	fflush(stdout);
	int master = receive_descriptor(accept(server, NULL, NULL));
	if (master >= 0 && syscall(SYS_pidfd_send_signal, master, SIGKILL, NULL, 0) == 0)
		return 0;
	if (master < 0 || ioctl(master, TIOCGWINSZ, &size) < 0)
		return 1;
	printf("size %u %u\n", size.ws_row, size.ws_col);
	fflush(stdout);
	ssize_t n;
	while ((n = read(master, buf, sizeof buf)) > 0) {
		if (write(1, buf, (size_t)n) != n)
			return 1;
	}
	return 0;
}
