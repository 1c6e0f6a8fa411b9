/* The shim's socket: one answer for each line, each a line of JSON, whatever comes in whatever pieces. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/json.h"
#include "fuzz/fuzz.h"
#include "shim/shim.h"

static struct shim the_shim;
static struct options opt = { .stop_grace_ms = 1000, .stop_signal = 15 };

/* Signals go to a process that has ended and was not waited for: nobody else can have its id. */
static pid_t zombie(void)
{
	static pid_t pid;
	if (pid == 0) {
		pid = fork();
		if (pid == 0)
			_exit(0);
		siginfo_t si;
		expect(pid > 0 && waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT) == 0);
	}
	return pid;
}

/* Reads what was answered so far; returns the number of lines. */
static size_t answers(int fd)
{
	static char text[1 << 16];
	ssize_t n;
	size_t lines = 0;
	while ((n = recv(fd, text, sizeof text, MSG_DONTWAIT)) > 0) {
		/* An answer is one send, and a read ends with one. */
		expect(text[n - 1] == '\n');
		for (char *line = text; line < text + n;) {
			char *newline = memchr(line, '\n', (size_t)(text + n - line));
			struct rt_error err = { 0 };
			cleanup_json struct json_doc *doc = NULL;
			expect(json_parse(line, (size_t)(newline - line), &doc, &err) == 0 && json_root(doc)->type == JSON_OBJECT);
			lines++;
			line = newline + 1;
		}
	}
	return lines;
}

static void serve(struct shim *s, int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN, .revents = POLLIN };
	control_serve(&s->control, s, &ready, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct shim *s = &the_shim;
	int pair[2];
	uint8_t flags = take_byte(&b);
	memset(s, 0, sizeof *s);
	s->opt = &opt;
	s->pid = zombie();
	s->exited = flags & 1;
	if (flags & 2)
		strcpy(s->end_text, "{\"exitCode\":0}");
	expect(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	s->control.listen_fd = -1;
	for (size_t i = 0; i < CONTROL_CONNECTIONS; i++)
		s->control.connections[i].fd = -1;
	struct connection *conn = &s->control.connections[0];
	conn->fd = pair[0];
	size_t lines = 0, answered = 0;
	while (b.left && conn->fd >= 0) {
		size_t n = take_byte(&b);
		n = n < b.left ? n : b.left;
		for (size_t i = 0; i < n; i++)
			lines += b.at[i] == '\n';
		expect(send(pair[1], b.at, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n);
		b.at += n;
		b.left -= n;
		if (n == 0)
			continue;
		/* One read takes at most one buffer. */
		for (int i = 0; i < 3 && conn->fd >= 0; i++)
			serve(s, pair[0]);
		answered += answers(pair[1]);
	}
	expect(conn->fd == pair[0]);
	/* Those that wait get theirs when the container ends. */
	expect(answered <= lines && (answered == lines || conn->waiting));
	control_tell(&s->control, "{\"exitCode\":1}");
	expect(!conn->waiting);
	close(pair[0]);
	close(pair[1]);
	return 0;
}
