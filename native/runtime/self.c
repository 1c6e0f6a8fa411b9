#include "runtime/self.h"

#include <errno.h>
#include <fcntl.h>
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

int self_protect(const struct config *c, char **argv, struct rt_error *err)
{
	struct stat st;
	struct statvfs fs;
	if (stat(SELF, &st) < 0)
		return rt_fail_errno(err, "look at the runtime's own file");
	if (is_foreign(c, &st))
		return 0;
	if (statvfs(SELF, &fs) < 0)
		return rt_fail_errno(err, "look at the runtime's own file");
	if (fs.f_flag & ST_RDONLY)
		return 0;
	if (geteuid() != 0)
		return run_from_copy(argv, err);
	/* Costs no memory, unlike a copy: the pages stay those of the file. */
	cleanup_fd int tree = sys_open_tree(AT_FDCWD, SELF, OPEN_TREE_CLONE);
	if (tree < 0 || sys_mount_setattr(tree, 0, MOUNT_ATTR_RDONLY, 0, MS_PRIVATE) < 0)
		return rt_fail_errno(err, "protect the runtime's own file");
	syscall(SYS_execveat, tree, "", argv, environ, AT_EMPTY_PATH);
	return rt_fail_errno(err, "run from a read-only mount");
}
