/*
 * Release at the end of scope: `cleanup_fd int fd = -1;`, `cleanup_free char *s = NULL;`.
 * take_fd and take_ptr hand the value over to the caller and leave nothing to release.
 */
#ifndef BERTH_COMMON_SCOPE_H
#define BERTH_COMMON_SCOPE_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void scope_close(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;
		close(*fd);
		errno = saved;
	}
}

static inline void scope_free(void *p)
{
	free(*(void **)p);
}

static inline void scope_closedir(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define cleanup_fd __attribute__((cleanup(scope_close)))
#define cleanup_free __attribute__((cleanup(scope_free)))
#define cleanup_dir __attribute__((cleanup(scope_closedir)))

static inline int take_fd(int *fd)
{
	int r = *fd;
	*fd = -1;
	return r;
}

#define take_ptr(p) ({ __typeof__(p) taken_ = (p); (p) = NULL; taken_; })

/* Retries a call that a signal interrupted. */
#define retry_eintr(call) ({ long r_; do { r_ = (long)(call); } while (r_ < 0 && errno == EINTR); r_; })

#endif
