#include "runtime/seccomp-notify.h"

#include <errno.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/scope.h"

enum { PENDING = -1, FAILED = -2 };

static bool notifies(const struct seccomp_filter *f)
{
	for (int i = 0; i < f->length; i++) {
		if (f->program[i].code == (BPF_RET | BPF_K) && (f->program[i].k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF)
			return true;
	}
	return false;
}

int seccomp_listener_connect(const struct json *seccomp, struct seccomp_filter *f, struct seccomp_listener *out, struct rt_error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *path = json_str(json_get(seccomp, "listenerPath"), "");
	if (!notifies(f))
		return 0;
	if (!*path)
		return rt_fail(err, EINVAL, "config.json: seccomp SCMP_ACT_NOTIFY needs listenerPath");
	if (strlen(path) >= sizeof addr.sun_path)
		return rt_fail(err, ENAMETOOLONG, "config.json: seccomp listenerPath %s", path);
	strcpy(addr.sun_path, path);
	out->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (out->socket < 0 || connect(out->socket, (struct sockaddr *)&addr, sizeof addr) < 0)
		return rt_fail_errno(err, "connect to seccomp listenerPath %s", path);
	f->listener = out;
	return 0;
}

int seccomp_listener_describe(struct seccomp_listener *l, const struct json *seccomp, const char *state_json, pid_t pid, struct rt_error *err)
{
	cleanup_json struct json_doc *state = NULL;
	struct json_out o = { 0 };
	const char *metadata = json_str(json_get(seccomp, "listenerMetadata"), NULL);
	int r = json_parse(state_json, strlen(state_json), &state, err);
	if (r < 0)
		return r;
	json_out_open(&o, '{');
	json_out_key(&o, "ociVersion");
	json_out_str(&o, json_str(json_get(json_root(state), "ociVersion"), ""));
	json_out_key(&o, "fds");
	json_out_open(&o, '[');
	json_out_str(&o, "seccompFd");
	json_out_close(&o, ']');
	json_out_key(&o, "pid");
	json_out_int(&o, pid);
	if (metadata) {
		json_out_key(&o, "metadata");
		json_out_str(&o, metadata);
	}
	json_out_key(&o, "state");
	json_out_node(&o, json_root(state));
	json_out_close(&o, '}');
	l->message = json_out_finish(&o);
	return l->message ? 0 : rt_fail(err, ENOMEM, "describe the process to the seccomp listener");
}

void seccomp_listener_release(struct seccomp_listener *l)
{
	scope_close(&l->socket);
	l->socket = -1;
	free(take_ptr(l->message));
}

static int send_descriptor(const struct seccomp_listener *l, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct iovec iov = { l->message, strlen(l->message) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	ssize_t n = retry_eintr(sendmsg(l->socket, &m, MSG_NOSIGNAL));
	return n == (ssize_t)iov.iov_len ? 0 : n < 0 ? errno : EIO;
}

/*
 * Another process with the same descriptors, started before the filter is there: any syscall of the one that loads it may
 * already wait for the listener's word, sendmsg(2) included. So it is told of the descriptor by memory alone.
 */
static _Noreturn void deliver(const struct seccomp_listener *l, const atomic_int *shared)
{
	const struct timespec nap = { .tv_nsec = 200000 };
	int fd;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while ((fd = atomic_load(shared)) == PENDING)
		nanosleep(&nap, NULL);
	_exit(fd < 0 ? 0 : send_descriptor(l, fd));
}

static int load(const struct seccomp_filter *f, atomic_int *shared, struct rt_error *err)
{
	struct sock_fprog p = { f->length, f->program };
	unsigned flags = f->flags | SECCOMP_FILTER_FLAG_NEW_LISTENER;
	/* Both kinds of answer at once are ambiguous to the kernel, unless a thread that lags behind is an error. */
	if (flags & SECCOMP_FILTER_FLAG_TSYNC)
		flags |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
	int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p);
	atomic_store(shared, fd < 0 ? FAILED : fd);
	return fd < 0 ? rt_fail_errno(err, "load the seccomp filter") : fd;
}

int seccomp_load_notifying(const struct seccomp_filter *f, struct rt_error *err)
{
	struct seccomp_listener *l = f->listener;
	struct clone_args args = { .flags = CLONE_FILES, .exit_signal = SIGCHLD };
	int status = 0;
	if (l->socket < 0 || !l->message)
		return rt_fail(err, EINVAL, "load the seccomp filter: its listener is not connected");
	atomic_int *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return rt_fail_errno(err, "load the seccomp filter");
	atomic_store(shared, PENDING);
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (pid < 0)
		return rt_fail_errno(err, "start a process for the seccomp listener");
	if (pid == 0)
		deliver(l, shared);
	int fd = load(f, shared, err);
	long r = retry_eintr(waitpid(pid, &status, 0));
	if (fd < 0)
		return fd;
	close(fd);
	close(l->socket);
	l->socket = -1;
	if (r < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return rt_fail(err, r < 0 || !WIFEXITED(status) ? EIO : WEXITSTATUS(status), "send the notification descriptor to the seccomp listener");
	return 0;
}
