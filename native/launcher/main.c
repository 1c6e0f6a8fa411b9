/*
 * berth-launcher: starts programs for an agent, which is large and slow to fork (docs/contracts.md).
 *
 *   berth-launcher --socket PATH --programs DIR
 *
 * It listens on PATH, in a directory that only its user may enter, and prints "ready" when it does. It ends with its standard input, which the agent holds open; what it has started
 * lives on. It keeps nothing that anything else needs, so its death harms nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/json.h"
#include "common/scope.h"
#include "launcher/child.h"
#include "launcher/client.h"

struct launcher {
	const char *programs;
	int listener, signals;
	struct client clients[CLIENTS_MAX];
	struct child children[CHILDREN_MAX];
};

static struct launcher the_launcher;

static void lose_client(struct launcher *l, int at)
{
	client_close(&l->clients[at]);
	for (int i = 0; i < CHILDREN_MAX; i++) {
		if (l->children[i].client == at)
			l->children[i].client = -1;
	}
}

static void answer(struct launcher *l, int at, struct json_out *o)
{
	json_out_close(o, '}');
	cleanup_free char *text = json_out_finish(o);
	if (at < 0 || l->clients[at].fd < 0)
		return;
	if (!text || !client_send(&l->clients[at], text, strlen(text)) || !client_send(&l->clients[at], "\n", 1))
		lose_client(l, at);
}

static void refuse(struct launcher *l, int at, int64_t id, const struct rt_error *err)
{
	char message[RT_ERROR_TEXT + 64];
	rt_error_message(err, message, sizeof message);
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	json_out_key(&o, "id");
	json_out_int(&o, id);
	json_out_key(&o, "error");
	json_out_str(&o, message);
	answer(l, at, &o);
}

/* Tells at once that the program runs: whoever hears nothing knows that the launcher is stuck, not the program. */
static void tell_start(struct launcher *l, const struct child *c)
{
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	json_out_key(&o, "id");
	json_out_int(&o, c->request);
	json_out_key(&o, "pid");
	json_out_int(&o, c->pid);
	answer(l, c->client, &o);
}

static void tell_end(struct launcher *l, const struct child *c)
{
	static const char *const names[] = { "stdout", "stderr" };
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	json_out_key(&o, "id");
	json_out_int(&o, c->request);
	json_out_key(&o, WIFSIGNALED(c->status) ? "signal" : "code");
	json_out_int(&o, WIFSIGNALED(c->status) ? WTERMSIG(c->status) : WEXITSTATUS(c->status));
	for (int i = 0; i < 2; i++) {
		json_out_key(&o, names[i]);
		json_out_strn(&o, c->said[i] ? c->said[i] : "", c->length[i]);
	}
	answer(l, c->client, &o);
}

static struct child *free_place(struct launcher *l)
{
	for (int i = 0; i < CHILDREN_MAX; i++) {
		if (!l->children[i].pid)
			return &l->children[i];
	}
	return NULL;
}

static void serve_line(struct launcher *l, int at, struct child *place, const char *line, size_t len)
{
	struct rt_error err = { 0 };
	struct request q = { 0 };
	cleanup_json struct json_doc *doc = NULL;
	char path[PATH_MAX];
	int r = json_parse(line, len, &doc, &err);
	if (r == 0)
		r = request_parse(json_root(doc), &q, &err);
	if (r == 0 && snprintf(path, sizeof path, "%s/%s", l->programs, q.program) >= (int)sizeof path)
		r = rt_fail(&err, ENAMETOOLONG, "starting %s", q.program);
	if (r == 0)
		r = child_start(place, path, (char *const *)q.argv, &err);
	if (r < 0) {
		refuse(l, at, q.id, &err);
		return;
	}
	place->client = at;
	place->request = q.id;
	tell_start(l, place);
}

/* Serves whole lines while there is a place for what they start; the rest waits in the connection. */
static void serve(struct launcher *l, int at)
{
	struct child *place;
	char *line;
	size_t len;
	while (l->clients[at].fd >= 0 && (place = free_place(l)) && (line = client_line(&l->clients[at], &len))) {
		serve_line(l, at, place, line, len);
		if (l->clients[at].fd >= 0)
			client_drop_line(&l->clients[at], len);
	}
}

static void reap(struct launcher *l)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < CHILDREN_MAX; i++) {
			struct child *c = &l->children[i];
			if (c->pid != pid)
				continue;
			c->ended = true;
			c->status = status;
			/* What it said is in the pipes; a grandchild that holds them open is not waited for. */
			for (int stream = 0; stream < 2; stream++) {
				size_t before;
				do {
					before = c->length[stream];
					if (c->from[stream] >= 0)
						child_listen(c, stream);
				} while (c->from[stream] >= 0 && c->length[stream] > before);
			}
			tell_end(l, c);
			child_clear(c);
		}
	}
}

static void accept_one(struct launcher *l)
{
	int fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
	struct rt_error err = { 0 };
	for (int i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
		if (l->clients[i].fd >= 0)
			continue;
		if (client_take(&l->clients[i], fd, &err) == 0)
			return;
		break;
	}
	if (fd >= 0)
		close(fd);
}

enum { AT_INPUT, AT_SIGNALS, AT_LISTENER, AT_CLIENTS, AT_CHILDREN = AT_CLIENTS + CLIENTS_MAX, POLLED = AT_CHILDREN + 2 * CHILDREN_MAX };

/* One round: waits, and does what there is to do. False when the agent is gone. */
static bool turn(struct launcher *l)
{
	struct pollfd fds[POLLED];
	for (int i = 0; i < POLLED; i++)
		fds[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
	fds[AT_INPUT].fd = 0;
	fds[AT_SIGNALS].fd = l->signals;
	fds[AT_LISTENER].fd = l->listener;
	for (int i = 0; i < CLIENTS_MAX; i++) {
		fds[AT_CLIENTS + i].fd = l->clients[i].fd;
		if (l->clients[i].out_length)
			fds[AT_CLIENTS + i].events |= POLLOUT;
		/* A full buffer waits for a free place, not for more. */
		if (l->clients[i].fd >= 0 && l->clients[i].in_length == REQUEST_MAX && memchr(l->clients[i].in, '\n', REQUEST_MAX))
			fds[AT_CLIENTS + i].events &= ~POLLIN;
	}
	for (int i = 0; i < CHILDREN_MAX; i++) {
		for (int stream = 0; l->children[i].pid && stream < 2; stream++)
			fds[AT_CHILDREN + 2 * i + stream].fd = l->children[i].from[stream];
	}
	if (poll(fds, POLLED, -1) < 0)
		return errno == EINTR;
	char byte;
	if (fds[AT_INPUT].revents && read(0, &byte, 1) == 0)
		return false;
	for (int i = 0; i < 2 * CHILDREN_MAX; i++) {
		if (fds[AT_CHILDREN + i].revents)
			child_listen(&l->children[i / 2], i % 2);
	}
	struct signalfd_siginfo si;
	while (read(l->signals, &si, sizeof si) > 0)
		;
	reap(l);
	for (int i = 0; i < CLIENTS_MAX; i++) {
		short events = fds[AT_CLIENTS + i].fd >= 0 ? fds[AT_CLIENTS + i].revents : 0;
		if ((events & POLLOUT && !client_flush(&l->clients[i])) || (events & (POLLIN | POLLHUP | POLLERR) && !client_read(&l->clients[i])))
			lose_client(l, i);
		if (l->clients[i].fd >= 0)
			serve(l, i);
	}
	if (fds[AT_LISTENER].revents)
		accept_one(l);
	return true;
}

static int listen_at(const char *path, int *out, struct rt_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (snprintf(address.sun_path, sizeof address.sun_path, "%s", path) >= (int)sizeof address.sun_path)
		return rt_fail(err, ENAMETOOLONG, "--socket");
	*out = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unlink(path);
	umask(0177);
	if (*out < 0 || bind(*out, (struct sockaddr *)&address, sizeof address) < 0 || listen(*out, CLIENTS_MAX) < 0)
		return rt_fail_errno(err, "listening on %s", path);
	umask(022);
	return 0;
}

static int open_launcher(struct launcher *l, int argc, char **argv, struct rt_error *err)
{
	const char *socket_path = NULL;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--socket") == 0)
			socket_path = argv[i + 1];
		else if (strcmp(argv[i], "--programs") == 0)
			l->programs = argv[i + 1];
		else
			return rt_fail(err, EINVAL, "unknown option '%s'", argv[i]);
	}
	if (!socket_path || !l->programs || *l->programs != '/' || argc != 5)
		return rt_fail(err, EINVAL, "usage: berth-launcher --socket PATH --programs DIR (absolute)");
	/* Whatever else its starter left open is not for what it starts. */
	if (syscall(SYS_close_range, 3u, ~0u, 0u) < 0)
		return rt_fail_errno(err, "closing descriptors");
	for (int i = 0; i < CLIENTS_MAX; i++)
		l->clients[i].fd = -1;
	for (int i = 0; i < CHILDREN_MAX; i++)
		l->children[i] = (struct child){ .client = -1, .from = { -1, -1 } };
	sigset_t child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* Those are the agent's to heed; it ends this process when it has. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	l->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l->signals < 0 || chdir("/") < 0)
		return rt_fail_errno(err, "starting");
	return listen_at(socket_path, &l->listener, err);
}

int main(int argc, char **argv)
{
	struct rt_error err = { 0 };
	if (open_launcher(&the_launcher, argc, argv, &err) < 0) {
		char message[RT_ERROR_TEXT + 64];
		rt_error_message(&err, message, sizeof message);
		dprintf(2, "berth-launcher: %s\n", message);
		return 1;
	}
	if (fs_write_all(1, "ready\n", 6) < 0)
		return 1;
	while (turn(&the_launcher))
		;
	return 0;
}
