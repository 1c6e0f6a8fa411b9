#include <errno.h>

#include "runtime/cgroups.h"

int devices_attach_bpf(const struct config *c, int cgroup_fd, struct rt_error *err)
{
	(void)c;
	(void)cgroup_fd;
	return rt_fail(err, ENOTSUP, "device rules need the v1 devices controller");
}
