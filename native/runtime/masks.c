#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/mount-api.h"
#include "runtime/rootfs.h"

#define MASK_ATTRS (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

/* The path inside, or -1 with *skip set when there is nothing to hide. */
static int find(int rootfs, const char *path, bool *skip, struct rt_error *err)
{
	int fd = fs_openat2(rootfs, path, O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	*skip = fd == -ENOENT || fd == -ENOTDIR;
	return fd < 0 && !*skip ? rt_fail(err, fd, "open %s", path) : fd;
}

static int empty_directory(struct rt_error *err)
{
	cleanup_fd int fs = sys_fsopen("tmpfs");
	if (fs < 0 || sys_fsconfig(fs, FSCONFIG_SET_STRING, "size", "0") < 0 || sys_fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "1") < 0 ||
	    sys_fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755") < 0 || sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
		return rt_fail_errno(err, "make an empty directory to mask with");
	int mnt = sys_fsmount(fs, MASK_ATTRS);
	return mnt < 0 ? rt_fail_errno(err, "make an empty directory to mask with") : mnt;
}

/*
 * Covers target with the mount behind *cover, which is then attached: the next use copies it, since only attached mounts can
 * be copied on older kernels.
 */
static int cover_with(int *cover, bool *attached, int target, const char *path, struct rt_error *err)
{
	cleanup_fd int copy = -1;
	if (*attached && (copy = sys_open_tree(*cover, "", AT_EMPTY_PATH | OPEN_TREE_CLONE)) < 0)
		return rt_fail_errno(err, "mask %s", path);
	if (sys_move_mount(*attached ? copy : *cover, target) < 0)
		return rt_fail_errno(err, "mask %s", path);
	*attached = true;
	return 0;
}

struct covers {
	int file, directory;
	bool file_attached, directory_attached;
};

static int mask(const char *path, int rootfs, struct covers *s, struct rt_error *err)
{
	bool skip;
	struct stat st;
	cleanup_fd int target = find(rootfs, path, &skip, err);
	if (target < 0)
		return skip ? 0 : target;
	if (fstat(target, &st) < 0)
		return rt_fail_errno(err, "mask %s", path);
	if (!S_ISDIR(st.st_mode))
		return cover_with(&s->file, &s->file_attached, target, path, err);
	if (s->directory < 0 && (s->directory = empty_directory(err)) < 0)
		return s->directory;
	return cover_with(&s->directory, &s->directory_attached, target, path, err);
}

static int make_readonly(const char *path, int rootfs, struct rt_error *err)
{
	bool skip;
	cleanup_fd int target = find(rootfs, path, &skip, err);
	if (target < 0)
		return skip ? 0 : target;
	cleanup_fd int tree = sys_open_tree(target, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE);
	if (tree < 0 || sys_mount_setattr(tree, AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0, 0) < 0 || sys_move_mount(tree, target) < 0)
		return rt_fail_errno(err, "make %s read-only", path);
	return 0;
}

/* A second cover over the first would hide nothing more. */
static bool is_repeated(const struct strings *paths, size_t at)
{
	for (size_t i = 0; i < at; i++) {
		if (!strcmp(paths->at[i], paths->at[at]))
			return true;
	}
	return false;
}

int masks_apply(const struct config *c, const struct prepared *p, struct rt_error *err)
{
	/* A copy of the host's own /dev/null, opened outside: an image's /dev/null could be anything. */
	struct covers s = { .file = p->mask_file, .directory = -1 };
	int r = 0;
	for (size_t i = 0; r == 0 && i < c->readonly_paths.count; i++)
		r = make_readonly(c->readonly_paths.at[i], p->rootfs, err);
	for (size_t i = 0; r == 0 && i < c->masked_paths.count; i++)
		r = is_repeated(&c->masked_paths, i) ? 0 : mask(c->masked_paths.at[i], p->rootfs, &s, err);
	scope_close(&s.directory);
	return r;
}
