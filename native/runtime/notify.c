#include "runtime/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/log.h"
#include "runtime/mount-api.h"

#define VARIABLE "NOTIFY_SOCKET"
#define NOTIFY_SOCKET_FILE NOTIFY_DIR "/notify"
/* More than systemd itself takes in one message. */
#define MESSAGE_MAX 4096
/* systemd finds the unit of a message by its sender, who must live until it was read (sd_notify_barrier(3)). */
#define BARRIER_MS 5000

static int add_env(struct config *c, const char *directory, struct rt_error *err)
{
	char text[sizeof VARIABLE + PATH_MAX + sizeof "/notify"];
	struct strings *env = &c->process.env;
	snprintf(text, sizeof text, VARIABLE "=%s/notify", directory);
	if (!config_add_env(c, text))
		return rt_fail(err, ENOMEM, "hand over " VARIABLE);
	/* A program finds the first of a name. */
	for (size_t i = 0; i + 1 < env->count; i++) {
		if (!strncmp(env->at[i], VARIABLE "=", sizeof VARIABLE)) {
			env->at[i] = env->at[env->count - 1];
			env->at[--env->count] = NULL;
		}
	}
	return 0;
}

static int open_directory(int state_dir, struct rt_error *err)
{
	const uint64_t attrs = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	if (mkdirat(state_dir, NOTIFY_DIR, 0755) < 0 || fchmodat(state_dir, NOTIFY_DIR, 0755, 0) < 0)
		return rt_fail_errno(err, "make the directory of " VARIABLE);
	cleanup_fd int tree = sys_open_tree(state_dir, NOTIFY_DIR, OPEN_TREE_CLONE);
	if (tree < 0 || sys_mount_setattr(tree, 0, attrs, 0, MS_PRIVATE) < 0)
		return rt_fail_errno(err, "open the directory of " VARIABLE);
	return take_fd(&tree);
}

int notify_prepare(struct config *c, struct prepared *p, int state_dir, struct rt_error *err)
{
	const char *path = getenv(VARIABLE);
	if (!path || !*path)
		return 0;
	if (path[0] != '/' || strlen(path) >= PATH_MAX)
		return rt_fail(err, EINVAL, VARIABLE "=%.64s: it must be an absolute path, below which the container finds its own socket", path);
	size_t n = c->mount_count;
	struct mount_spec *mounts = config_alloc(c, n + 1, sizeof *mounts);
	struct prepared_mount *prepared = config_alloc(c, n + 1, sizeof *prepared);
	if (!mounts || !prepared)
		return rt_fail(err, ENOMEM, "hand over " VARIABLE);
	int r = add_env(c, path, err), tree = r < 0 ? r : open_directory(state_dir, err);
	if (tree < 0)
		return tree;
	if (n) {
		memcpy(mounts, c->mounts, n * sizeof *mounts);
		memcpy(prepared, p->mounts, n * sizeof *prepared);
	}
	mounts[n] = (struct mount_spec){ .destination = path, .type = "bind", .source = NOTIFY_DIR };
	prepared[n] = (struct prepared_mount){ .options.bind = true, .tree = tree, .is_directory = true };
	c->mounts = mounts;
	p->mounts = prepared;
	c->mount_count = n + 1;
	return 0;
}

int notify_listen(int state_dir, int *fd, struct rt_error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct stat st;
	*fd = -1;
	/* Nobody to tell. */
	if (!getenv(VARIABLE))
		return 0;
	if (fstatat(state_dir, NOTIFY_DIR, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : rt_fail_errno(err, "find the directory of " VARIABLE);
	/* By way of /proc/self/fd: a socket's path has room for 107 bytes. */
	snprintf(addr.sun_path, sizeof addr.sun_path, "/proc/self/fd/%d/%s", state_dir, NOTIFY_SOCKET_FILE);
	cleanup_fd int own = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	unlinkat(state_dir, NOTIFY_SOCKET_FILE, 0);
	if (own < 0 || bind(own, (struct sockaddr *)&addr, sizeof addr) < 0 || fchmodat(state_dir, NOTIFY_SOCKET_FILE, 0777, 0) < 0)
		return rt_fail_errno(err, "make the socket of " VARIABLE);
	*fd = take_fd(&own);
	return 0;
}

static bool says_ready(const char *message)
{
	static const char ready[] = "READY=1";
	for (const char *line = message; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		if (!strncmp(line, ready, sizeof ready - 1) && (line[sizeof ready - 1] == '\n' || line[sizeof ready - 1] == 0))
			return true;
	}
	return false;
}

static void await_barrier(int fd, const struct sockaddr_un *to)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} rights = { 0 };
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	struct iovec part = { "BARRIER=1", strlen("BARRIER=1") };
	struct msghdr m = { .msg_name = (void *)to, .msg_namelen = sizeof *to, .msg_iov = &part, .msg_iovlen = 1,
			    .msg_control = rights.bytes, .msg_controllen = sizeof rights.bytes };
	rights.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
	memcpy(CMSG_DATA(&rights.align), &ends[1], sizeof(int));
	bool sent = retry_eintr(sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT)) >= 0;
	close(ends[1]);
	struct pollfd end = { .fd = ends[0], .events = 0 };
	if (sent)
		retry_eintr(poll(&end, 1, BARRIER_MS));
	close(ends[0]);
}

static void send_ready(pid_t pid, bool leaves)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char text[64] = "READY=1";
	const char *path = getenv(VARIABLE);
	if (!path || !*path)
		return;
	if (strlen(path) >= sizeof to.sun_path) {
		log_warning(VARIABLE ": the path of a socket has at most %zu bytes", sizeof to.sun_path - 1);
		return;
	}
	memcpy(to.sun_path, path, strlen(path) + 1);
	if (leaves)
		snprintf(text, sizeof text, "MAINPID=%d\nREADY=1", pid);
	cleanup_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || retry_eintr(sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to)) < 0)
		log_warning("tell %s that the container is ready: %s", path, strerror(errno));
	else if (leaves)
		await_barrier(fd, &to);
}

void notify_wait(int fd, pid_t pid, bool leaves)
{
	cleanup_fd int own = fd;
	cleanup_fd int process = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd fds[] = { { .fd = own, .events = POLLIN }, { .fd = process, .events = POLLIN } };
	char message[MESSAGE_MAX + 1];
	for (;;) {
		/* Without a process it has ended, and was waited for. What it said before that counts. */
		bool ended = process < 0 || retry_eintr(poll(fds, 2, -1)) < 0 || fds[1].revents;
		ssize_t n = recv(own, message, MESSAGE_MAX, MSG_DONTWAIT | MSG_TRUNC);
		if (n < 0 && ended)
			return;
		if (n < 0 || n > MESSAGE_MAX)
			continue;
		message[n] = 0;
		if (says_ready(message)) {
			send_ready(pid, leaves);
			return;
		}
	}
}

pid_t notify_wait_beside(int fd, pid_t pid)
{
	pid_t parent = getpid(), beside = fork();
	if (beside == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			notify_wait(fd, pid, false);
		_exit(0);
	}
	close(fd);
	return beside;
}

void notify_remove(int state_dir)
{
	unlinkat(state_dir, NOTIFY_SOCKET_FILE, 0);
	unlinkat(state_dir, NOTIFY_DIR, AT_REMOVEDIR);
}
