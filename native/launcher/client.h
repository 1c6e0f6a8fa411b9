/*
 * A connection to the launcher: lines of JSON in, lines of JSON out.
 */
#ifndef BERTH_LAUNCHER_CLIENT_H
#define BERTH_LAUNCHER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define CLIENTS_MAX 8
#define REQUEST_MAX (256 * 1024)
#define ANSWERS_MAX (4 * 1024 * 1024)
#define ARGS_MAX 256

struct client {
	int fd; /* -1: this place is free */
	char *in;
	size_t in_length;
	char *out;
	size_t out_length;
};

struct request {
	int64_t id;
	const char *program;          /* a bare name */
	const char *argv[ARGS_MAX + 2];
};

/* Takes a connection. EPERM for one of another user, whom the socket's directory should have kept out. */
must_check int client_take(struct client *c, int fd, struct rt_error *err);

/* Reads what has come. False when the connection is over. */
bool client_read(struct client *c);

/* The next whole line without its newline, NUL-terminated, or NULL; *len bytes, NULs among them if it was sent any. Stays valid until client_drop_line. */
char *client_line(struct client *c, size_t *len);
void client_drop_line(struct client *c, size_t len);

/* Queues bytes and sends what goes. False when the connection is over, or its peer does not read. */
bool client_send(struct client *c, const char *text, size_t len);
bool client_flush(struct client *c);

void client_close(struct client *c);

struct json;
/* Reads {"id","program","args"}; strings belong to the document. */
must_check int request_parse(const struct json *root, struct request *out, struct rt_error *err);

#endif
