/* datagrams SOCKET: prints each message that comes, with \n as a space, until it is killed. Descriptors that come along are closed. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/scope.h"

int main(int argc, char **argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char text[4096];
	if (argc != 2)
		return 2;
	strncpy(addr.sun_path, argv[1], sizeof addr.sun_path - 1);
	cleanup_fd int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || bind(sock, (struct sockaddr *)&addr, sizeof addr) < 0)
		return 1;
	for (;;) {
		/* Without room for them the kernel drops the descriptors. */
		ssize_t n = recv(sock, text, sizeof text, 0);
		if (n < 0)
			return 1;
		for (ssize_t i = 0; i < n; i++)
			text[i] = text[i] == '\n' ? ' ' : text[i];
		printf("%.*s\n", (int)n, text);
		fflush(stdout);
	}
}
