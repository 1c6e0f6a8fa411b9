/*
 * device_rules CGROUP_DIR: attaches "deny all, allow c 1:7 r" to a v2 cgroup, enters it, and prints what open says to
 * /dev/null, /dev/full (reading, writing) and /dev/kmsg (reading): "ok" or the errno's name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/limits.h"

static void try(const char *path, int flags)
{
	cleanup_fd int fd = open(path, flags | O_CLOEXEC);
	printf("%s %s %s\n", path, flags == O_RDONLY ? "r" : "w", fd >= 0 ? "ok" : strerror(errno));
}

int main(int argc, char **argv)
{
	struct rt_error err = { 0 };
	struct device_rule rules[] = { { false, 'a', -1, -1, "rwm" }, { true, 'c', 1, 11, "r" }, { false, 'c', 1, 9, "w" } };
	struct resources o = { .devices = rules, .device_count = 3 };
	cleanup_fd int dir = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (dir < 0 || devices_attach_bpf(&o, dir, &err) < 0 || fs_write_at(dir, "cgroup.procs", "0") < 0) {
		fprintf(stderr, "%s: %s\n", argc == 2 ? argv[1] : "usage", err.text);
		return 1;
	}
	try("/dev/null", O_RDONLY);
	try("/dev/null", O_WRONLY);
	try("/dev/kmsg", O_RDONLY);
	try("/dev/kmsg", O_WRONLY);
	try("/dev/mem", O_RDONLY);
	return 0;
}
