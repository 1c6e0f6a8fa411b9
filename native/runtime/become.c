#include "runtime/become.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/caps.h"
#include "runtime/namespaces.h"

int become_reset_signals(struct rt_error *err)
{
	sigset_t none;
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		return rt_fail_errno(err, "reset the signal mask");
	return 0;
}

int become_root(const struct config *c, struct rt_error *err)
{
	if (c->ns.entered || (!ns_has(c, NS_USER) && !c->ns.path[NS_USER]))
		return 0;
	if (!c->process.keep_groups && syscall(SYS_setgroups, 0, NULL) < 0)
		return rt_fail_errno(err, "drop supplementary groups");
	if (ns_host_id(&c->gid_maps, 0) >= 0 && syscall(SYS_setresgid, 0, 0, 0) < 0)
		return rt_fail_errno(err, "become the user namespace's root group");
	if (ns_host_id(&c->uid_maps, 0) >= 0 && syscall(SYS_setresuid, 0, 0, 0) < 0)
		return rt_fail_errno(err, "become the user namespace's root");
	return 0;
}

int become_join_keyring(struct rt_error *err)
{
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		return rt_fail_errno(err, "make a session keyring");
	return 0;
}

int become_close_others(int *const *own, int preserve_fds, struct rt_error *err)
{
	int keep = 3 + preserve_fds, count = 0;
	for (int *const *o = own; *o; o++)
		count += **o >= 0;
	for (int *const *o = own; *o; o++) {
		if (**o < 0)
			continue;
		/* Twice: first out of the way of each other, then to the lowest places. */
		int high = fcntl(**o, F_DUPFD_CLOEXEC, keep + count);
		if (high < 0)
			return rt_fail_errno(err, "move a descriptor");
		**o = high;
	}
	for (int *const *o = own; *o; o++) {
		if (**o < 0)
			continue;
		if (dup3(**o, keep, O_CLOEXEC) < 0)
			return rt_fail_errno(err, "move a descriptor");
		**o = keep++;
	}
	if (syscall(SYS_close_range, (unsigned)keep, ~0U, 0) < 0)
		return rt_fail_errno(err, "close descriptors");
	return 0;
}

static int set_user(const struct process_spec *p, struct rt_error *err)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return rt_fail_errno(err, "keep capabilities");
	if (!p->keep_groups && syscall(SYS_setgroups, p->group_count, p->groups) < 0)
		return rt_fail_errno(err, "set supplementary groups");
	if (syscall(SYS_setresgid, p->gid, p->gid, p->gid) < 0)
		return rt_fail_errno(err, "become group %u", p->gid);
	if (syscall(SYS_setresuid, p->uid, p->uid, p->uid) < 0)
		return rt_fail_errno(err, "become user %u", p->uid);
	umask(p->umask);
	return 0;
}

static int become_user(const struct process_spec *p, const struct seccomp_filter *filter, struct rt_error *err)
{
	bool loads_later = filter && !p->no_new_privileges;
	int r = caps_apply_bounding(p, err);
	if (r < 0 || (r = set_user(p, err)) < 0 || (r = caps_apply_sets(p, loads_later, err)) < 0)
		return r;
	if (p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return rt_fail_errno(err, "set no_new_privs");
	return 0;
}

int become_filtered(const struct process_spec *p, const struct seccomp_filter *filter, struct rt_error *err)
{
	int r;
	if (!filter || p->no_new_privileges)
		return 0;
	if ((r = caps_raise_admin(err)) < 0 || (r = seccomp_load(filter, err)) < 0)
		return r;
	return caps_lower_admin(p, err);
}

int become_personality(const struct config *c, struct rt_error *err)
{
	if (c->personality >= 0 && personality((unsigned long)c->personality) < 0)
		return rt_fail_errno(err, "set the personality");
	return 0;
}

static int enter_cwd(const struct process_spec *p, struct rt_error *err)
{
	char where[4096];
	cleanup_fd int fd = fs_openat2(AT_FDCWD, p->cwd, O_PATH | O_DIRECTORY, 0, RESOLVE_NO_MAGICLINKS);
	if (fd < 0 || fchdir(fd) < 0)
		return rt_fail(err, fd < 0 ? fd : errno, "enter the working directory %s", p->cwd);
	/* The bare call: "(unreachable)" is how the kernel names a place outside the root. */
	long n = syscall(SYS_getcwd, where, sizeof where);
	if (n < 0 || where[0] != '/')
		return rt_fail(err, EPERM, "the working directory %s is outside the container", p->cwd);
	return 0;
}

int become_user_in_cwd(const struct process_spec *p, const struct seccomp_filter *filter, struct rt_error *err)
{
	struct rt_error first = { 0 };
	/* Images have working directories that are root's alone, for a user who only needs to start there. */
	bool there = enter_cwd(p, &first) == 0;
	int r = become_user(p, filter, err);
	/* And a bound directory may be open to the user alone. */
	return r < 0 || there ? r : enter_cwd(p, err);
}
