#include "layer/image-mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "common/scope.h"
#include "layer/erofs-format.h"
#include "layer/limits.h"
#include "layer/loop-device.h"
#include "layer/mount-api.h"

int image_lock(const char *at, int *lock, struct rt_error *err)
{
	char parent[LAYER_PATH_MAX];
	const char *slash = strrchr(at, '/');
	if (!slash || slash == at || (size_t)(slash - at) >= sizeof parent)
		return rt_fail(err, EINVAL, "--lower with --image takes an absolute path, not %.200s", at);
	memcpy(parent, at, (size_t)(slash - at));
	parent[slash - at] = 0;
	cleanup_fd int fd = open(parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return rt_fail_errno(err, "open %.200s", parent);
	if (retry_eintr(flock(fd, LOCK_EX)) < 0)
		return rt_fail_errno(err, "lock %.200s", parent);
	*lock = take_fd(&fd);
	return 0;
}

static bool is_mounted(const char *at)
{
	struct statfs fs;
	return statfs(at, &fs) == 0 && (uint32_t)fs.f_type == EROFS_MAGIC;
}

static int mount_image(const char *image, int *out, struct rt_error *err)
{
	*out = mount_filesystem("erofs", image);
	if (*out == -ENODEV)
		return rt_fail(err, ENOTSUP, "this kernel knows no EROFS");
	if (*out != -ENOTBLK)
		return *out < 0 ? rt_fail(err, *out, "mount %.200s", image) : 0;
	char device[LOOP_NAME_MAX];
	cleanup_fd int loop = -1;
	int r = loop_device_open(image, false, device, &loop, err);
	if (r < 0)
		return r;
	*out = mount_filesystem("erofs", device);
	return *out < 0 ? rt_fail(err, *out, "mount %.200s through %s", image, device) : 0;
}

int image_mount(const char *image, const char *at, struct rt_error *err)
{
	if (is_mounted(at))
		return 0;
	if (mkdir(at, 0700) < 0 && errno != EEXIST)
		return rt_fail_errno(err, "make %.200s", at);
	cleanup_fd int mounted = -1;
	int r = mount_image(image, &mounted, err);
	if (r < 0)
		return r;
	r = mount_attach(mounted, AT_FDCWD, at);
	return r < 0 ? rt_fail(err, r, "attach %.200s", at) : 0;
}

int image_release(const char *at, struct rt_error *err)
{
	while (umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
	if (errno != EINVAL && errno != ENOENT)
		return rt_fail_errno(err, "unmount %.200s", at);
	return rmdir(at) < 0 && errno != ENOENT ? rt_fail_errno(err, "remove %.200s", at) : 0;
}
