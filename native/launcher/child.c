#include "launcher/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/scope.h"

extern char **environ;

static int spawn_with(struct child *c, const char *program, char *const argv[], const int to[2])
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	int r = posix_spawn_file_actions_init(&actions);
	if (r)
		return -r;
	if ((r = posix_spawnattr_init(&attributes)) == 0) {
		/* A session of its own: a Ctrl-C for the agent's terminal is not for it. */
		if ((r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)) == 0 &&
		    (r = posix_spawnattr_setsigmask(&attributes, &none)) == 0 && (r = posix_spawnattr_setsigdefault(&attributes, &all)) == 0 &&
		    (r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)) == 0 &&
		    (r = posix_spawn_file_actions_adddup2(&actions, to[0], 1)) == 0 && (r = posix_spawn_file_actions_adddup2(&actions, to[1], 2)) == 0)
			r = posix_spawn(&c->pid, program, &actions, &attributes, argv, environ);
		posix_spawnattr_destroy(&attributes);
	}
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

int child_start(struct child *c, const char *program, char *const argv[], struct rt_error *err)
{
	int out[2], error[2];
	if (pipe2(out, O_CLOEXEC) < 0)
		return rt_fail_errno(err, "making a pipe");
	if (pipe2(error, O_CLOEXEC) < 0) {
		int r = rt_fail_errno(err, "making a pipe");
		close(out[0]);
		close(out[1]);
		return r;
	}
	*c = (struct child){ .client = -1, .from = { out[0], error[0] } };
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(error[0], F_SETFL, O_NONBLOCK);
	int r = spawn_with(c, program, argv, (const int[]){ out[1], error[1] });
	close(out[1]);
	close(error[1]);
	if (r == 0)
		return 0;
	c->pid = 0;
	child_clear(c);
	return rt_fail(err, r, "starting %s", program);
}

void child_listen(struct child *c, int stream)
{
	char beyond[512];
	if (!c->said[stream])
		c->said[stream] = malloc(SAID_MAX);
	size_t room = c->said[stream] ? SAID_MAX - c->length[stream] : 0;
	ssize_t n = room ? read(c->from[stream], c->said[stream] + c->length[stream], room) : read(c->from[stream], beyond, sizeof beyond);
	if (n > 0) {
		c->length[stream] += room ? (size_t)n : 0;
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(c->from[stream]);
		c->from[stream] = -1;
	}
}

void child_clear(struct child *c)
{
	for (int i = 0; i < 2; i++) {
		scope_close(&c->from[i]);
		free(c->said[i]);
	}
	*c = (struct child){ .client = -1, .from = { -1, -1 } };
}
