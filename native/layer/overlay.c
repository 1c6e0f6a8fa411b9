#include "layer/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/scope.h"
#include "layer/image-mount.h"
#include "layer/mount-api.h"

#define OPTIONS_MAX 4096 /* one page, mount(2)'s limit */
#define BOUND_AT "bound"

/*
 * overlayfs takes its lowers by path, before Linux 6.13 by no other way, and has one page for all of them; and it clones mounts only out of its
 * own mount namespace. So the clones are attached under names of a few letters on a tmpfs, in a private namespace that goes away with this process, and the
 * finished overlay is carried home as a descriptor. A crash at any point leaves nothing.
 */
static int enter_private_namespace(const char *scratch, struct rt_error *err)
{
	if (unshare(CLONE_NEWNS) < 0)
		return rt_fail_errno(err, "make a mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return rt_fail_errno(err, "make mounts private");
	if (mount("tmpfs", scratch, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700,size=1m,nr_inodes=2k") < 0)
		return rt_fail_errno(err, "mount a tmpfs on %.200s", scratch);
	if (chdir(scratch) < 0)
		return rt_fail_errno(err, "enter %.200s", scratch);
	return 0;
}

static int clone_lower(const char *path, int userns_fd, int *out, struct rt_error *err)
{
	cleanup_fd int fd = mount_clone(path);
	if (fd < 0)
		return rt_fail(err, fd, "open layer %.200s", path);
	int r = mount_restrict(fd, userns_fd);
	/* EINVAL is how a filesystem says that it knows no idmapped mounts. */
	if (r == -EINVAL && userns_fd >= 0)
		return rt_fail(err, ENOTSUP, "idmapped mount of %.200s", path);
	if (r < 0)
		return rt_fail(err, r, "restrict layer %.200s", path);
	*out = take_fd(&fd);
	return 0;
}

/* overlayfs heeds the mark on every directory but a layer's own root, where a layer may have it too. */
static bool hides_all_below(const char *lower)
{
	char value;
	return getxattr(lower, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

static int attach_lowers(const int *mounts, int n, struct rt_error *err)
{
	for (int i = 0; i < n; i++) {
		char name[16];
		snprintf(name, sizeof name, "%d", i);
		if (mkdir(name, 0700) < 0)
			return rt_fail_errno(err, "make a mount point");
		int r = mount_attach(mounts[i], AT_FDCWD, name);
		if (r < 0)
			return rt_fail(err, r, "attach a layer");
	}
	return 0;
}

static bool append(char options[OPTIONS_MAX], size_t *len, const char *text)
{
	size_t n = strlen(text);
	if (*len + n >= OPTIONS_MAX)
		return false;
	memcpy(options + *len, text, n + 1);
	*len += n;
	return true;
}

/* Appends NAME=PATH with overlayfs's escapes. */
static bool append_path(char options[OPTIONS_MAX], size_t *len, const char *name, const char *path)
{
	bool ok = append(options, len, name);
	for (const char *p = path; ok && *p; p++) {
		const char text[3] = { strchr("\\,:", *p) ? '\\' : *p, strchr("\\,:", *p) ? *p : 0, 0 };
		ok = append(options, len, text);
	}
	return ok;
}

static int mount_here(const struct overlay *o, int lowers, int *out, struct rt_error *err)
{
	char options[OPTIONS_MAX] = "";
	size_t len = 0;
	/* Redirects and metacopy would let attributes of a layer name files of another. */
	bool ok = append(options, &len, "volatile,index=off,metacopy=off,redirect_dir=nofollow,lowerdir=");
	for (int i = 0; ok && i < lowers; i++) {
		char name[16];
		snprintf(name, sizeof name, "%s%d", i ? ":" : "", i);
		ok = append(options, &len, name);
	}
	ok = ok && append_path(options, &len, ",upperdir=", o->upper ? o->upper : BOUND_AT "/upper");
	ok = ok && append_path(options, &len, ",workdir=", o->work ? o->work : BOUND_AT "/work");
	if (!ok)
		return rt_fail(err, ENAMETOOLONG, "mount options of %.200s", o->target);
	if (mkdir("merged", 0700) < 0)
		return rt_fail_errno(err, "make a mount point");
	if (mount("overlay", "merged", "overlay", MS_NODEV, options) < 0)
		return rt_fail_errno(err, "mount the overlay of %d layers for %.200s", lowers, o->target);
	*out = mount_clone("merged");
	return *out < 0 ? rt_fail(err, *out, "take the overlay out of its namespace") : 0;
}

static int own_upper(const struct overlay *o, int bound, struct rt_error *err)
{
	const char *path = o->upper ? o->upper : "upper";
	cleanup_fd int upper = openat(o->upper ? AT_FDCWD : bound, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (upper < 0)
		return rt_fail_errno(err, "open %.200s", path);
	if (fchmod(upper, 0755) < 0 || (o->map && fchown(upper, o->map->base, o->map->base) < 0))
		return rt_fail_errno(err, "own %.200s", path);
	return 0;
}

/* The filesystem of a bounded upper is attached nowhere else, so the overlay alone keeps it: it goes when that is unmounted. */
static int attach_bound(int bound, struct rt_error *err)
{
	if (bound < 0)
		return 0;
	if (mkdir(BOUND_AT, 0700) < 0)
		return rt_fail_errno(err, "make a mount point");
	int r = mount_attach(bound, AT_FDCWD, BOUND_AT);
	return r < 0 ? rt_fail(err, r, "attach the writable layer") : 0;
}

static int make_upper(const struct overlay *o, int *bound, struct rt_error *err)
{
	int r = 0;
	if (!o->upper)
		r = bound_mount(&o->bound, bound, err);
	else if (o->bound.kind == BOUND_PROJECT)
		r = bound_project(&o->bound, o->upper, o->work, err);
	return r < 0 ? r : own_upper(o, *bound, err);
}

static void close_all(const int *fds, int n)
{
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

/* Clones the lowers, topmost first, down to the first that hides all below it. */
static int clone_lowers(const struct overlay *o, int userns, int *lowers, int *cloned, struct rt_error *err)
{
	/* Until all are cloned nobody may take an image's mount away and leave an empty directory. */
	cleanup_fd int lock = -1;
	int r = 0;
	for (bool opaque = false; r == 0 && !opaque && *cloned < o->lower_count; *cloned += r == 0) {
		const struct overlay_lower *lower = &o->lowers[*cloned];
		if (lower->image && lock < 0)
			r = image_lock(lower->dir, &lock, err);
		if (r == 0 && lower->image)
			r = image_mount(lower->image, lower->dir, err);
		if (r == 0) {
			opaque = hides_all_below(lower->dir);
			r = clone_lower(lower->dir, userns, &lowers[*cloned], err);
		}
	}
	return r;
}

int overlay_mount(const struct overlay *o, struct rt_error *err)
{
	cleanup_fd int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	cleanup_fd int target = open(o->target, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_fd int userns = -1, merged = -1, bound = -1;
	int lowers[OVERLAY_LOWERS_MAX], cloned = 0;
	if (home < 0 || target < 0)
		return rt_fail_errno(err, "open %.200s", home < 0 ? "/proc/self/ns/mnt" : o->target);
	int r = o->map ? idmap_open(o->map, &userns, err) : 0;
	if (r == 0)
		r = clone_lowers(o, userns, lowers, &cloned, err);
	if (r == 0)
		r = make_upper(o, &bound, err);
	if (r == 0)
		r = enter_private_namespace(o->target, err);
	if (r == 0)
		r = attach_bound(bound, err);
	if (r == 0)
		r = attach_lowers(lowers, cloned, err);
	if (r == 0)
		r = mount_here(o, cloned, &merged, err);
	close_all(lowers, cloned);
	if (r < 0)
		return r;
	if (setns(home, CLONE_NEWNS) < 0)
		return rt_fail_errno(err, "return to the mount namespace");
	r = mount_attach(merged, target, "");
	return r < 0 ? rt_fail(err, r, "attach the overlay at %.200s", o->target) : 0;
}

/* overlayfs wants two layers where none is written to; an empty directory is as good as none. */
static int merge_lowers(int *lowers, int cloned, int *root, struct rt_error *err)
{
	char options[OPTIONS_MAX] = "";
	size_t len = 0;
	int r = attach_lowers(lowers, cloned, err);
	if (r < 0)
		return r;
	if (mkdir("empty", 0755) < 0 || mkdir("merged", 0700) < 0)
		return rt_fail_errno(err, "make a mount point");
	bool ok = append(options, &len, "index=off,metacopy=off,redirect_dir=nofollow,lowerdir=");
	for (int i = 0; ok && i < cloned; i++) {
		char name[16];
		snprintf(name, sizeof name, "%d:", i);
		ok = append(options, &len, name);
	}
	if (!ok || !append(options, &len, "empty"))
		return rt_fail(err, ENAMETOOLONG, "mount options of %d layers", cloned);
	if (mount("overlay", "merged", "overlay", MS_NODEV | MS_RDONLY, options) < 0)
		return rt_fail_errno(err, "mount the overlay of %d layers", cloned);
	*root = open("merged", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *root < 0 ? rt_fail_errno(err, "open the layers") : 0;
}

int overlay_lowers(const struct overlay *o, int *root, struct rt_error *err)
{
	int lowers[OVERLAY_LOWERS_MAX], cloned = 0;
	int r = clone_lowers(o, -1, lowers, &cloned, err);
	if (r == 0)
		r = enter_private_namespace(o->target, err);
	if (r == 0)
		r = merge_lowers(lowers, cloned, root, err);
	close_all(lowers, cloned);
	return r;
}

int overlay_unmount(const char *target, struct rt_error *err)
{
	while (umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
	if (errno == EINVAL || errno == ENOENT || errno == ENOTDIR)
		return 0;
	return rt_fail_errno(err, "unmount %.200s", target);
}
