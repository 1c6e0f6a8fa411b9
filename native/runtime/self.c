#include "runtime/self.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
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
	/* Costs no memory, unlike a copy: the pages stay those of the file. */
	cleanup_fd int tree = sys_open_tree(AT_FDCWD, SELF, OPEN_TREE_CLONE);
	if (tree < 0 || sys_mount_setattr(tree, 0, MOUNT_ATTR_RDONLY, 0, MS_PRIVATE) < 0)
		return rt_fail_errno(err, "protect the runtime's own file");
	syscall(SYS_execveat, tree, "", argv, environ, AT_EMPTY_PATH);
	return rt_fail_errno(err, "run from a read-only mount");
}
