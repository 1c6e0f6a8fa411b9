/*
 * linux.seccomp of config.json compiled to classic BPF (seccomp(2)): one binary search tree by syscall number for each ABI.
 */
#ifndef BERTH_RUNTIME_SECCOMP_H
#define BERTH_RUNTIME_SECCOMP_H

#include <linux/filter.h>

#include "common/error.h"
#include "common/json.h"

struct seccomp_filter {
	struct sock_filter *program; /* the filter's own */
	unsigned short length;
	unsigned flags; /* SECCOMP_FILTER_FLAG_* */
	struct seccomp_listener *listener; /* who is asked; NULL: nobody. See seccomp-notify.h */
};

/* EINVAL for what is malformed, ENOTSUP for what this kernel or this compiler cannot do. */
must_check int seccomp_compile(const struct json *seccomp, struct seccomp_filter *out, struct rt_error *err);
void seccomp_free(struct seccomp_filter *f);

/* Loads the filter into the calling process, for good. */
must_check int seccomp_load(const struct seccomp_filter *f, struct rt_error *err);

#endif
