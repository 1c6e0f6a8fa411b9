#include "runtime/lsm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/log.h"

#define ENABLED "/sys/module/apparmor/parameters/enabled"
#define PROFILE_MAX 512
#define FILESYSTEMS_MAX_BYTES 65536

static bool has_apparmor(void)
{
	char byte = 'N';
	cleanup_fd int fd = open(ENABLED, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, &byte, 1) == 1 && byte == 'Y';
}

int lsm_set_apparmor(struct process_spec *p, const char *profile, struct rt_error *err)
{
	bool enabled = has_apparmor();
	p->apparmor = NULL;
	if (!*profile || (!enabled && !strcmp(profile, "unconfined")))
		return 0;
	if (!enabled)
		return rt_fail(err, ENOTSUP, "process.apparmorProfile %.80s is not supported: this kernel has no AppArmor", profile);
	if (strlen(profile) > PROFILE_MAX || strchr(profile, '\n'))
		return rt_fail(err, EINVAL, "process.apparmorProfile %.80s is no name of a profile", profile);
	p->apparmor = profile;
	return 0;
}

/* The kernel registers this file system when SELinux is switched on, whether or not anybody has mounted it. When in doubt, it is on. */
static bool has_selinux(void)
{
	cleanup_free char *text = NULL;
	struct rt_error ignored = { 0 };
	return fs_read_file(AT_FDCWD, "/proc/filesystems", FILESYSTEMS_MAX_BYTES, &text, NULL, &ignored) < 0 || strstr(text, "\tselinuxfs\n");
}

int lsm_check_mount_label(const char *label, struct rt_error *err)
{
	if (!*label)
		return 0;
	if (has_selinux())
		return rt_fail(err, ENOTSUP, "config.json: linux.mountLabel is not supported where SELinux is on; leave it out");
	log_warning("linux.mountLabel has no effect: this kernel runs no SELinux");
	return 0;
}

static int open_attribute(struct rt_error *err)
{
	static const char *const names[] = { "self/attr/apparmor/exec", "self/attr/exec" };
	struct statfs fs;
	int fd = -ENOENT;
	cleanup_fd int proc = open("/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (proc < 0 || fstatfs(proc, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)
		return rt_fail(err, EINVAL, "process.apparmorProfile needs proc mounted at /proc");
	for (int i = 0; fd == -ENOENT && i < 2; i++)
		fd = fs_openat2(proc, names[i], O_WRONLY, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
	return fd < 0 ? rt_fail(err, fd, "set process.apparmorProfile") : fd;
}

int lsm_apply(const struct process_spec *p, struct rt_error *err)
{
	char text[PROFILE_MAX + 8];
	if (!p->apparmor)
		return 0;
	cleanup_fd int fd = open_attribute(err);
	if (fd < 0)
		return fd;
	int n = snprintf(text, sizeof text, "exec %s", p->apparmor);
	if (write(fd, text, (size_t)n) == n)
		return 0;
	return rt_fail(err, errno, errno == ENOENT ? "process.apparmorProfile %s is not loaded on this host" : "set process.apparmorProfile %s", p->apparmor);
}
