/* The launcher's socket: each line is one request, read or refused, whatever comes in whatever pieces; what is answered arrives whole and in order. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/json.h"
#include "common/scope.h"
#include "fuzz/fuzz.h"
#include "launcher/client.h"

/* What was sent so far, and how much of it has come back as lines. */
struct sent {
	uint8_t bytes[4096];
	size_t length, taken;
};

static void check_request(const char *line, size_t len)
{
	struct rt_error err = { 0 };
	cleanup_json struct json_doc *doc = NULL;
	struct request q = { 0 };
	if (json_parse(line, len, &doc, &err) < 0 || request_parse(json_root(doc), &q, &err) < 0) {
		expect(*err.text);
		return;
	}
	/* It is run from one directory, so it must not lead out of it. */
	expect(*q.program && !strchr(q.program, '/') && strcmp(q.program, ".") && strcmp(q.program, ".."));
	expect(q.argv[0] == q.program);
	size_t count = 0;
	while (q.argv[count])
		count++;
	expect(count == json_get(json_root(doc), "args")->count + 1 && count <= ARGS_MAX + 1);
}

/* Takes the lines that are whole, and sends each back. */
static void serve(struct client *c, struct sent *s, size_t *echoed)
{
	char *line;
	size_t len;
	while ((line = client_line(c, &len))) {
		const uint8_t *from = s->bytes + s->taken, *newline = memchr(from, '\n', s->length - s->taken);
		expect(newline && len == (size_t)(newline - from) && memcmp(line, from, len) == 0);
		s->taken += len + 1;
		check_request(line, len);
		expect(client_send(c, line, len) && client_send(c, "\n", 1));
		client_drop_line(c, len);
		*echoed += len + 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct sent s = { .length = 0 };
	struct client c = { .fd = -1 };
	struct rt_error err = { 0 };
	int pair[2];
	size_t echoed = 0;
	expect(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	expect(client_take(&c, pair[0], &err) == 0);
	while (b.left && s.length < sizeof s.bytes) {
		size_t n = take_byte(&b);
		n = n < b.left ? n : b.left;
		n = n < sizeof s.bytes - s.length ? n : sizeof s.bytes - s.length;
		if (n == 0)
			continue;
		memcpy(s.bytes + s.length, b.at, n);
		s.length += n;
		expect(send(pair[1], b.at, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n);
		b.at += n;
		b.left -= n;
		expect(client_read(&c));
		serve(&c, &s, &echoed);
	}
	/* Nothing more comes; a line without its end stays where it is. */
	expect(!memchr(s.bytes + s.taken, '\n', s.length - s.taken) && c.in_length == s.length - s.taken);
	expect(echoed == s.taken && c.out_length == 0);
	uint8_t back[sizeof s.bytes];
	if (echoed)
		expect(recv(pair[1], back, sizeof back, MSG_DONTWAIT) == (ssize_t)echoed && memcmp(back, s.bytes, echoed) == 0);
	close(pair[1]);
	expect(!client_read(&c));
	client_close(&c);
	expect(c.fd == -1 && !c.in && !c.out);
	return 0;
}
