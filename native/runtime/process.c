#include "runtime/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/namespaces.h"
#include "runtime/options.h"
#include "runtime/user.h"

void process_own_stdio(const struct config *c)
{
	int64_t uid = ns_host_id(&c->uid_maps, c->process.uid), gid = ns_host_id(&c->gid_maps, c->process.gid);
	struct statfs fs;
	for (int fd = 0; fd < 3 && uid >= 0 && gid >= 0; fd++) {
		if (fstatfs(fd, &fs) == 0 && fs.f_type == PIPEFS_MAGIC && fchown(fd, (uid_t)uid, (gid_t)gid) < 0)
			return;
	}
}

int process_take_listen_fds(struct config *c, int *preserve_fds, struct rt_error *err)
{
	const char *count = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
	char text[32];
	uint32_t fds, owner;
	if (!count || !user_parse_id(count, strlen(count), &fds) || fds == 0 || fds > OPTIONS_MAX_COUNT ||
	    (pid && (!user_parse_id(pid, strlen(pid), &owner) || (pid_t)owner != getpid())))
		return 0;
	*preserve_fds += (int)fds;
	snprintf(text, sizeof text, "LISTEN_FDS=%u", fds);
	return config_add_env(c, text) && config_add_env(c, "LISTEN_PID=1") ? 0 : rt_fail(err, ENOMEM, "hand over sockets");
}

int process_check_given(const struct process_spec *p, struct rt_error *err)
{
	return p->args.count ? 0 : rt_fail(err, EINVAL, "config.json: there is no process to start; create the container with one");
}

int process_set_oom_score(const struct process_spec *p, pid_t pid, struct rt_error *err)
{
	char path[64], value[16];
	if (!p->has_oom_score_adj)
		return 0;
	snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
	snprintf(value, sizeof value, "%d", p->oom_score_adj);
	int r = fs_write_at(AT_FDCWD, path, value);
	return r < 0 ? rt_fail(err, r, "set oomScoreAdj %s", value) : 0;
}

static int set_rlimits(const struct process_spec *p, pid_t pid, struct rt_error *err)
{
	for (size_t i = 0; i < p->rlimit_count; i++) {
		const struct rlimit_spec *l = &p->rlimits[i];
		if (prlimit(pid, l->resource, &l->limit, NULL) < 0)
			return rt_fail_errno(err, "set rlimit %d", l->resource);
	}
	return 0;
}

/* Without CAP_SYS_RESOURCE a process sets the limits of its like alone: here one with the ids of the container's user. */
static int set_rlimits_as_user(const struct config *c, pid_t pid, struct rt_error *err)
{
	int64_t uid = ns_host_id(&c->uid_maps, c->process.uid), gid = ns_host_id(&c->gid_maps, c->process.gid);
	int status;
	if (uid < 0 || gid < 0)
		return -err->code;
	pid_t child = fork();
	if (child == 0) {
		struct rt_error unsaid = { 0 };
		bool ready = syscall(SYS_setresgid, (gid_t)gid, (gid_t)gid, (gid_t)gid) == 0 && syscall(SYS_setresuid, (uid_t)uid, (uid_t)uid, (uid_t)uid) == 0;
		_exit(ready && set_rlimits(&c->process, pid, &unsaid) == 0 ? 0 : 1);
	}
	if (child < 0 || retry_eintr(waitpid(child, &status, 0)) < 0 || status != 0)
		return -err->code;
	*err = (struct rt_error){ 0 };
	return 0;
}

int process_set_rlimits(const struct config *c, pid_t pid, struct rt_error *err)
{
	int r = set_rlimits(&c->process, pid, err);
	return r == -EPERM && pid ? set_rlimits_as_user(c, pid, err) : r;
}

bool process_raises_rlimits(const struct process_spec *p)
{
	for (size_t i = 0; i < p->rlimit_count; i++) {
		struct rlimit now;
		if (getrlimit(p->rlimits[i].resource, &now) < 0 || p->rlimits[i].limit.rlim_max > now.rlim_max)
			return true;
	}
	return false;
}

int process_write_pid_file(const char *path, pid_t pid, struct rt_error *err)
{
	char text[16], dir[PATH_MAX];
	int len = snprintf(text, sizeof text, "%d", pid);
	const char *slash = strrchr(path, '/');
	snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
	cleanup_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return rt_fail_errno(err, "write %s", path);
	return fs_write_atomic(fd, slash ? slash + 1 : path, text, (size_t)len, 0644, err);
}

int process_wait(pid_t pid, int *status, struct rt_error *err)
{
	sigset_t all;
	sigfillset(&all);
	for (;;) {
		int ws, sig;
		pid_t r = waitpid(pid, &ws, WNOHANG | __WALL);
		if (r < 0 && errno != EINTR)
			return rt_fail_errno(err, "wait for the container");
		if (r == pid) {
			*status = WIFSIGNALED(ws) ? 128 + WTERMSIG(ws) : WEXITSTATUS(ws);
			return 0;
		}
		if (sigwait(&all, &sig) == 0 && sig != SIGCHLD && sig != SIGURG)
			kill(pid, sig);
	}
}
