#include "layer/bound.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/scope.h"
#include "layer/loop-device.h"
#include "layer/mount-api.h"

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443 /* one number on all architectures (Linux 5.14) */
#endif

#define NUMBER_MAX 24

int bound_parse(const char *text, enum bound_kind *out, struct rt_error *err)
{
	static const char *const names[] = { [BOUND_PROJECT] = "project", [BOUND_IMAGE] = "image", [BOUND_TMPFS] = "tmpfs" };
	for (enum bound_kind k = BOUND_PROJECT; k <= BOUND_TMPFS; k++) {
		if (strcmp(text, names[k]) == 0) {
			*out = k;
			return 0;
		}
	}
	return rt_fail(err, EINVAL, "--bound takes project, image or tmpfs, not %.60s", text);
}

static int mount_image(const struct bound *b, int *out, struct rt_error *err)
{
	/* Nothing of it outlives a crash of the machine: it need not wait for the disk, nor clear tables that are never read. */
	static const struct mount_option options[] = { { "noinit_itable", NULL }, { "nobarrier", NULL }, { NULL, NULL } };
	char device[LOOP_NAME_MAX];
	cleanup_fd int loop = -1;
	int r = loop_device_open(b->image, true, device, &loop, err);
	if (r < 0)
		return r;
	*out = mount_writable("ext4", device, options);
	if (*out == -ENODEV)
		return rt_fail(err, ENOTSUP, "this kernel knows no ext4");
	return *out < 0 ? rt_fail(err, *out, "mount %.200s through %s", b->image, device) : 0;
}

static int mount_tmpfs(const struct bound *b, int *out, struct rt_error *err)
{
	char bytes[NUMBER_MAX], inodes[NUMBER_MAX];
	snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)b->bytes);
	snprintf(inodes, sizeof inodes, "%llu", (unsigned long long)b->inodes);
	const struct mount_option options[] = { { "size", bytes }, { "nr_inodes", inodes }, { "mode", "0700" }, { NULL, NULL } };
	*out = mount_writable("tmpfs", "tmpfs", options);
	return *out < 0 ? rt_fail(err, *out, "make a tmpfs of %s bytes", bytes) : 0;
}

int bound_mount(const struct bound *b, int *out, struct rt_error *err)
{
	cleanup_fd int mounted = -1;
	int r = b->kind == BOUND_IMAGE ? mount_image(b, &mounted, err) : mount_tmpfs(b, &mounted, err);
	if (r < 0)
		return r;
	if (mkdirat(mounted, "upper", 0755) < 0 || mkdirat(mounted, "work", 0755) < 0)
		return rt_fail_errno(err, "make the writable layer's directories");
	*out = take_fd(&mounted);
	return 0;
}

static int join_project(const char *path, uint32_t project, struct rt_error *err)
{
	struct fsxattr attr;
	cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return rt_fail_errno(err, "open %.200s", path);
	if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return rt_fail(err, ENOTSUP, "the filesystem of %.200s knows no projects", path);
	attr.fsx_projid = project;
	attr.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	if (ioctl(fd, FS_IOC_FSSETXATTR, &attr) < 0) {
		int code = errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL ? ENOTSUP : errno;
		return rt_fail(err, code, "count %.200s for project %u", path, project);
	}
	return 0;
}

static int set_limits(const char *path, uint32_t project, uint64_t bytes, uint64_t inodes)
{
	const struct if_dqblk limits = {
		.dqb_bhardlimit = (bytes + QIF_DQBLKSIZE - 1) / QIF_DQBLKSIZE,
		.dqb_bsoftlimit = (bytes + QIF_DQBLKSIZE - 1) / QIF_DQBLKSIZE,
		.dqb_ihardlimit = inodes,
		.dqb_isoftlimit = inodes,
		.dqb_valid = QIF_LIMITS,
	};
	cleanup_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return syscall(SYS_quotactl_fd, fd, QCMD(Q_SETQUOTA, PRJQUOTA), project, &limits) < 0 ? -errno : 0;
}

int bound_project(const struct bound *b, const char *upper, const char *work, struct rt_error *err)
{
	if (b->project == 0)
		return rt_fail(err, EINVAL, "--project takes an id that is not 0");
	/* The limits first: a filesystem without quota is told by them, before anything of it is changed. */
	int r = set_limits(upper, b->project, b->bytes, b->inodes);
	if (r == -ESRCH || r == -ENOSYS || r == -EOPNOTSUPP || r == -EINVAL)
		return rt_fail(err, ENOTSUP, "the filesystem of %.200s is not mounted with project quota (prjquota)", upper);
	if (r < 0)
		return rt_fail(err, r, "limit project %u", b->project);
	r = join_project(upper, b->project, err);
	return r < 0 ? r : join_project(work, b->project, err);
}

int bound_forget(uint32_t project, const char *dir, struct rt_error *err)
{
	int r = set_limits(dir, project, 0, 0);
	return r == 0 || r == -ENOENT || r == -ESRCH || r == -ENOSYS || r == -EOPNOTSUPP ? 0 : rt_fail(err, r, "take the limits of project %u away", project);
}
