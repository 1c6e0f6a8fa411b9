#include "layer/loop-device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/scope.h"

#define LOOP_TRIES 64

static int claim(int control, int file, bool writable, char device[LOOP_NAME_MAX], int *out, struct rt_error *err)
{
	uint32_t flags = LO_FLAGS_AUTOCLEAR | (writable ? LO_FLAGS_DIRECT_IO : LO_FLAGS_READ_ONLY);
	for (int i = 0; i < LOOP_TRIES; i++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		if (number < 0)
			return rt_fail_errno(err, "find a free loop device");
		snprintf(device, LOOP_NAME_MAX, "/dev/loop%d", number);
		cleanup_fd int loop = open(device, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
		const struct loop_config config = { .fd = (uint32_t)file, .info = { .lo_flags = flags } };
		if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) == 0) {
			*out = take_fd(&loop);
			return 0;
		}
		/* Another took it first. */
		if (errno != EBUSY && errno != ENXIO)
			return rt_fail_errno(err, "set up %s", device);
	}
	return rt_fail(err, EBUSY, "find a free loop device");
}

int loop_device_open(const char *path, bool writable, char device[LOOP_NAME_MAX], int *out, struct rt_error *err)
{
	cleanup_fd int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	cleanup_fd int file = open(path, (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC);
	if (control < 0) {
		int code = errno == ENOENT || errno == ENXIO ? ENOTSUP : errno;
		return rt_fail(err, code, writable ? "open /dev/loop-control" : "open /dev/loop-control, which kernels before 6.12 need");
	}
	if (file < 0)
		return rt_fail_errno(err, "open %.200s", path);
	return claim(control, file, writable, device, out, err);
}
