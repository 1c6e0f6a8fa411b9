#include "runtime/rootfs.h"
#include "runtime/self.h"

#include <errno.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/scope.h"
#include "runtime/mount-api.h"

/* Makes a missing working directory, as users of images expect. Where that fails, entering it will say so. */
static void make_cwd(const struct config *c, const struct prepared *p)
{
	struct rt_error ignored = { 0 };
	cleanup_fd int cwd = target_open(p->rootfs, c->process.cwd, true, TARGET_FOLLOW, &ignored);
	(void)cwd;
}

int rootfs_build(const struct config *c, struct prepared *p, const struct cgroups *g, struct rt_error *err)
{
	/* A slave still hears the host unmount things, and tells it nothing; the whole tree goes away in rootfs_enter. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return rt_fail_errno(err, "detach from the host's mounts");
	self_hand_over();
	/* Over the old root: the one place that is sure to exist. Look-ups of the old root's paths go on below it. */
	cleanup_fd int root = openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || sys_move_mount(p->rootfs, root) < 0)
		return rt_fail_errno(err, "mount the root file system");
	int r = mounts_attach(c, p, g, err);
	if (r < 0 || (r = devices_populate(c, p, err)) < 0)
		return r;
	make_cwd(c, p);
	return masks_apply(c, p, err);
}

static int finish_readonly(const struct config *c, const struct prepared *p, struct rt_error *err)
{
	for (size_t i = 0; i < c->mount_count; i++) {
		const struct prepared_mount *m = &p->mounts[i];
		if (!m->options.bind && m->tree >= 0 && sys_mount_setattr(m->tree, 0, MOUNT_ATTR_RDONLY, 0, 0) < 0)
			return rt_fail_errno(err, "make %s read-only", c->mounts[i].destination);
	}
	if (c->readonly_rootfs && sys_mount_setattr(p->rootfs, 0, MOUNT_ATTR_RDONLY, 0, 0) < 0)
		return rt_fail_errno(err, "make the root file system read-only");
	return 0;
}

int rootfs_enter(const struct config *c, const struct prepared *p, struct rt_error *err)
{
	int r = finish_readonly(c, p, err);
	if (r < 0)
		return r;
	if (fchdir(p->rootfs) < 0)
		return rt_fail_errno(err, "enter the root file system");
	/* Both names are the new root: the old one lands on top of it, and is let go from there (pivot_root(2), NOTES). */
	if (sys_pivot_root(".", ".") < 0)
		return rt_fail_errno(err, "pivot into the root file system");
	if (umount2(".", MNT_DETACH) < 0)
		return rt_fail_errno(err, "let go of the host's file system");
	if (chdir("/") < 0)
		return rt_fail_errno(err, "enter the root file system");
	if ((c->rootfs_propagation & (MS_SHARED | MS_UNBINDABLE)) && sys_mount_setattr(p->rootfs, 0, 0, 0, c->rootfs_propagation) < 0)
		return rt_fail_errno(err, "set rootfsPropagation");
	return 0;
}
