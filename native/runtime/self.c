#include "runtime/self.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/scope.h"
#include "runtime/mount-api.h"
#include "runtime/namespaces.h"

#define SELF "/proc/self/exe"

/* The detached mount that this program runs from; -1. */
static int held = -1;

/* Whether nobody inside the new user namespace can have write access, by owner, group, others or capability. */
static bool is_foreign(const struct config *c, const struct stat *st)
{
	if (!ns_has(c, NS_USER) || (st->st_mode & S_IWOTH) || ns_maps_host_id(&c->uid_maps, st->st_uid))
		return false;
	return !(st->st_mode & S_IWGRP) || !ns_maps_host_id(&c->gid_maps, st->st_gid);
}

/* An ordinary user may mount nothing as yet: a sealed copy in memory, which is charged to the user, not to the container. */
static int run_from_copy(char **argv, struct rt_error *err)
{
	cleanup_fd int self = open(SELF, O_RDONLY | O_CLOEXEC);
	if (self < 0)
		return rt_fail_errno(err, "open the runtime's own file");
	int seals = fcntl(self, F_GET_SEALS);
	if (seals >= 0 && (seals & F_SEAL_WRITE))
		return 0;
	cleanup_fd int copy = memfd_create("berth-runtime", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (copy < 0)
		return rt_fail_errno(err, "protect the runtime's own file");
	ssize_t n;
	do
		n = retry_eintr(sendfile(copy, self, NULL, 1 << 20));
	while (n > 0);
	if (n < 0 || fchmod(copy, 0700) < 0 || fcntl(copy, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return rt_fail_errno(err, "protect the runtime's own file");
	syscall(SYS_execveat, copy, "", argv, environ, AT_EMPTY_PATH);
	return rt_fail_errno(err, "run from a sealed copy");
}

/* The descriptor that this program was run by, if it was: "/dev/fd/N" in the words of execveat(2). Else -1. */
static int executed_fd(void)
{
	const char *name = (const char *)getauxval(AT_EXECFN);
	char *end;
	if (!name || strncmp(name, "/dev/fd/", 8) || name[8] < '0' || name[8] > '9')
		return -1;
	long fd = strtol(name + 8, &end, 10);
	return *end || fd > INT_MAX ? -1 : (int)fd;
}

/* Finds out, the quick way first, whether the mount that this program runs from is read-only. 1, 0 or -errno. */
static int is_readonly(void)
{
	struct statvfs fs;
	int fd = executed_fd();
	if (fd >= 0 && fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_RDONLY)) {
		held = fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
		return 1;
	}
	if (statvfs(SELF, &fs) < 0)
		return -errno;
	return (fs.f_flag & ST_RDONLY) != 0;
}

int self_protect(const struct config *c, char **argv, struct rt_error *err)
{
	struct stat st;
	int r = held >= 0 ? 1 : is_readonly();
	if (r != 0)
		return r < 0 ? rt_fail(err, r, "look at the runtime's own file") : 0;
	if (c && stat(SELF, &st) < 0)
		return rt_fail_errno(err, "look at the runtime's own file");
	if (c && is_foreign(c, &st))
		return 0;
	if (geteuid() != 0)
		return run_from_copy(argv, err);
	/* Costs no memory, unlike a copy: the pages stay those of the file. */
	cleanup_fd int tree = sys_open_tree(AT_FDCWD, SELF, OPEN_TREE_CLONE);
	if (tree < 0 || sys_mount_setattr(tree, 0, MOUNT_ATTR_RDONLY, 0, MS_PRIVATE) < 0 || fcntl(tree, F_SETFD, 0) < 0)
		return rt_fail_errno(err, "protect the runtime's own file");
	syscall(SYS_execveat, tree, "", argv, environ, AT_EMPTY_PATH);
	return rt_fail_errno(err, "run from a read-only mount");
}

void self_hand_over(void)
{
	cleanup_fd int place = held < 0 ? -1 : openat(AT_FDCWD, "/proc/version", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (place >= 0 && sys_move_mount(held, place) < 0)
		return;
}
