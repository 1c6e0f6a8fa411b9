#include "launcher/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/json.h"
#include "common/scope.h"

int client_take(struct client *c, int fd, struct rt_error *err)
{
	struct ucred peer;
	socklen_t len = sizeof peer;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return rt_fail_errno(err, "asking who connects");
	if (peer.uid != geteuid())
		return rt_fail(err, EPERM, "user %u may not connect", (unsigned)peer.uid);
	*c = (struct client){ .fd = fd, .in = malloc(REQUEST_MAX) };
	if (c->in)
		return 0;
	c->fd = -1;
	return rt_fail(err, ENOMEM, "taking a connection");
}

bool client_read(struct client *c)
{
	/* A line that fills the buffer is no request. */
	if (c->in_length == REQUEST_MAX)
		return false;
	ssize_t n = recv(c->fd, c->in + c->in_length, REQUEST_MAX - c->in_length, MSG_DONTWAIT);
	if (n > 0)
		c->in_length += (size_t)n;
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

char *client_line(struct client *c, size_t *len)
{
	char *newline = memchr(c->in, '\n', c->in_length);
	if (!newline)
		return NULL;
	*newline = '\0';
	*len = (size_t)(newline - c->in);
	return c->in;
}

void client_drop_line(struct client *c, size_t len)
{
	c->in_length -= len + 1;
	memmove(c->in, c->in + len + 1, c->in_length);
}

bool client_send(struct client *c, const char *text, size_t len)
{
	if (c->out_length + len > ANSWERS_MAX)
		return false;
	/* Of nothing, realloc(3) makes a free(3). */
	if (len == 0)
		return true;
	char *grown = realloc(c->out, c->out_length + len);
	if (!grown)
		return false;
	memcpy(grown + c->out_length, text, len);
	c->out = grown;
	c->out_length += len;
	return client_flush(c);
}

bool client_flush(struct client *c)
{
	if (!c->out_length)
		return true;
	ssize_t n = send(c->fd, c->out, c->out_length, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->out_length -= (size_t)n;
	memmove(c->out, c->out + n, c->out_length);
	return true;
}

void client_close(struct client *c)
{
	scope_close(&c->fd);
	free(c->in);
	free(c->out);
	*c = (struct client){ .fd = -1 };
}

int request_parse(const struct json *root, struct request *out, struct rt_error *err)
{
	if (!json_i64(json_get(root, "id"), &out->id))
		return rt_fail(err, EINVAL, "id must be a whole number");
	out->program = json_str(json_get(root, "program"), "");
	if (!*out->program || strchr(out->program, '/') || *out->program == '.')
		return rt_fail(err, EINVAL, "program must be the bare name of one");
	const struct json *args = json_get(root, "args");
	if (!args || args->type != JSON_ARRAY || args->count > ARGS_MAX)
		return rt_fail(err, EINVAL, "args must be a list of at most %d strings", ARGS_MAX);
	size_t n = 0;
	out->argv[n++] = out->program;
	json_each(it, args) {
		if (it->type != JSON_STRING)
			return rt_fail(err, EINVAL, "args must be strings");
		out->argv[n++] = it->string;
	}
	out->argv[n] = NULL;
	return 0;
}
