#include "shim/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/json.h"
#include "shim/park.h"
#include "shim/shim.h"

#define BACKLOG 64

int control_open(struct control *c, int dirfd, struct rt_error *err)
{
	for (size_t i = 0; i < CONTROL_CONNECTIONS; i++)
		c->connections[i].fd = -1;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	/* By descriptor, since the directory's own path may be longer than a socket address can hold. */
	snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/shim.sock", dirfd);
	c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->listen_fd < 0 || bind(c->listen_fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(c->listen_fd, BACKLOG) < 0)
		return rt_fail_errno(err, "listening at shim.sock");
	return 0;
}

size_t control_poll(const struct control *c, struct pollfd *fds)
{
	size_t n = 0;
	for (size_t i = 0; i < CONTROL_CONNECTIONS; i++) {
		if (c->connections[i].fd >= 0)
			fds[n++] = (struct pollfd){ .fd = c->connections[i].fd, .events = POLLIN };
	}
	if (n < CONTROL_CONNECTIONS)
		fds[n++] = (struct pollfd){ .fd = c->listen_fd, .events = POLLIN };
	return n;
}

static void hang_up(struct connection *conn)
{
	close(conn->fd);
	*conn = (struct connection){ .fd = -1 };
}

static void answer(struct connection *conn, const char *text)
{
	char line[REPORT_MAX];
	int len = snprintf(line, sizeof line - 1, "%s", text);
	/* Only an error's text can be too long, and nobody reads that to its end. */
	if (len > (int)sizeof line - 2)
		len = snprintf(line, sizeof line - 1, "{\"error\":\"the reason is too long to tell\"}");
	line[len++] = '\n';
	/* Whole or not at all: a socket that has no room for a line belongs to a client that stopped reading. */
	if (send(conn->fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) != len)
		hang_up(conn);
}

static void refuse(struct connection *conn, const char *message)
{
	char text[256];
	snprintf(text, sizeof text, "{\"error\":\"%s\"}", message);
	answer(conn, text);
}

static void answer_status(struct connection *conn, const struct shim *s)
{
	char text[64];
	snprintf(text, sizeof text, "{\"state\":\"%s\",\"pid\":%d}", s->exited ? "exited" : s->started ? "running" : "parked", (int)s->pid);
	answer(conn, text);
}

static void answer_signal(struct connection *conn, const struct shim *s, const struct json *request)
{
	int64_t number;
	if (!json_i64(json_get(request, "signal"), &number) || number < 1 || number > 64)
		refuse(conn, "signal wants a number from 1 to 64");
	else if (s->exited)
		refuse(conn, "the container has exited");
	else if (kill(s->pid, (int)number) < 0)
		refuse(conn, "the signal could not be sent");
	else
		answer(conn, "{}");
}

static void answer_stop(struct connection *conn, struct shim *s, const struct json *request)
{
	uint64_t grace_ms = s->opt->stop_grace_ms;
	if (json_get(request, "graceMs") && !json_u64(json_get(request, "graceMs"), &grace_ms)) {
		refuse(conn, "graceMs wants a whole number");
		return;
	}
	shim_stop(s, STOP_REQUEST, grace_ms);
	answer(conn, "{}");
}

static void answer_claim(struct connection *conn, struct shim *s, const struct json *request)
{
	struct rt_error err = { 0 };
	if (!conn->holds || s->claimed) {
		refuse(conn, "only who holds a parked container may claim it, and once");
	} else if (park_take_options(s, request, &err) < 0) {
		refuse(conn, err.text);
	} else {
		conn->claims = true;
		s->claimed = true;
	}
}

/* While the container waits there is no program to signal, to stop or to wait for. */
static void answer_parked(struct connection *conn, struct shim *s, const char *op, const struct json *request)
{
	if (strcmp(op, "status") == 0) {
		answer_status(conn, s);
	} else if (strcmp(op, "claim") == 0) {
		answer_claim(conn, s, request);
	} else if (strcmp(op, "hold") != 0) {
		refuse(conn, "the container is parked: hold, claim and status are all there is");
	} else if (s->held) {
		refuse(conn, "the container is held already");
	} else {
		conn->holds = s->held = true;
		answer(conn, "{}");
	}
}

static void answer_request(struct connection *conn, struct shim *s, const char *text, size_t len)
{
	struct rt_error err = { 0 };
	cleanup_json struct json_doc *doc = NULL;
	if (json_parse(text, len, &doc, &err) < 0) {
		refuse(conn, "a request is one line of JSON");
		return;
	}
	const struct json *request = json_root(doc);
	const char *op = json_str(json_get(request, "op"), "");
	if (!s->started && s->opt->park)
		answer_parked(conn, s, op, request);
	else if (strcmp(op, "status") == 0)
		answer_status(conn, s);
	else if (strcmp(op, "signal") == 0)
		answer_signal(conn, s, request);
	else if (strcmp(op, "stop") == 0)
		answer_stop(conn, s, request);
	else if (strcmp(op, "wait") != 0)
		refuse(conn, "unknown op");
	else if (s->end_text[0])
		answer(conn, s->end_text);
	else
		conn->waiting = true;
}

static void read_requests(struct connection *conn, struct shim *s)
{
	ssize_t n = recv(conn->fd, conn->bytes + conn->fill, sizeof conn->bytes - conn->fill, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		hang_up(conn);
		return;
	}
	conn->fill += (size_t)n;
	char *newline;
	while (conn->fd >= 0 && (newline = memchr(conn->bytes, '\n', conn->fill))) {
		size_t len = (size_t)(newline - conn->bytes);
		char request[CONTROL_REQUEST_MAX];
		memcpy(request, conn->bytes, len);
		conn->fill -= len + 1;
		memmove(conn->bytes, newline + 1, conn->fill);
		bool overlong = conn->overlong;
		conn->overlong = false;
		if (overlong)
			refuse(conn, "the request is too long");
		else
			answer_request(conn, s, request, len);
	}
	if (conn->fd >= 0 && conn->fill == sizeof conn->bytes) {
		conn->overlong = true;
		conn->fill = 0;
	}
}

static void accept_one(struct control *c)
{
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	for (size_t i = 0; fd >= 0 && i < CONTROL_CONNECTIONS; i++) {
		if (c->connections[i].fd < 0) {
			c->connections[i] = (struct connection){ .fd = fd };
			return;
		}
	}
	if (fd >= 0)
		close(fd);
}

void control_serve(struct control *c, struct shim *s, const struct pollfd *fds, size_t count)
{
	for (size_t n = 0; n < count; n++) {
		if (!fds[n].revents)
			continue;
		if (fds[n].fd == c->listen_fd) {
			accept_one(c);
			continue;
		}
		for (size_t i = 0; i < CONTROL_CONNECTIONS; i++) {
			if (c->connections[i].fd == fds[n].fd)
				read_requests(&c->connections[i], s);
		}
	}
}

bool control_is_held(const struct control *c)
{
	for (size_t i = 0; i < CONTROL_CONNECTIONS; i++) {
		if (c->connections[i].fd >= 0 && c->connections[i].holds)
			return true;
	}
	return false;
}

void control_tell_claim(struct control *c, const char *text)
{
	for (size_t i = 0; i < CONTROL_CONNECTIONS; i++) {
		if (c->connections[i].fd >= 0 && c->connections[i].claims)
			answer(&c->connections[i], text);
	}
}

void control_tell(struct control *c, const char *end_text)
{
	for (size_t i = 0; i < CONTROL_CONNECTIONS; i++) {
		struct connection *conn = &c->connections[i];
		if (conn->fd >= 0 && conn->waiting) {
			conn->waiting = false;
			answer(conn, end_text);
		}
	}
}
