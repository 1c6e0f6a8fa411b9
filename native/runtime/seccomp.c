#include "runtime/seccomp.h"

#include <errno.h>

int seccomp_compile(const struct json *seccomp, struct seccomp_filter *out, struct rt_error *err)
{
	(void)seccomp;
	(void)out;
	return rt_fail(err, ENOTSUP, "linux.seccomp is not supported");
}

void seccomp_free(struct seccomp_filter *f)
{
	(void)f;
}

int seccomp_load(const struct seccomp_filter *f, struct rt_error *err)
{
	(void)f;
	return rt_fail(err, ENOTSUP, "linux.seccomp is not supported");
}
