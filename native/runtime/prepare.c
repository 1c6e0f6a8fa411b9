#include "runtime/prepare.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/scope.h"
#include "runtime/idmap.h"
#include "runtime/mount-api.h"
#include "runtime/namespaces.h"
#include "runtime/rootfs.h"
#include "runtime/rootless.h"

const struct device_spec default_device_specs[DEFAULT_DEVICES] = {
	[DEVICE_NULL] = { "/dev/null", 'c', 1, 3, 0666, 0, 0 },     [DEVICE_ZERO] = { "/dev/zero", 'c', 1, 5, 0666, 0, 0 },
	[DEVICE_FULL] = { "/dev/full", 'c', 1, 7, 0666, 0, 0 },     [DEVICE_RANDOM] = { "/dev/random", 'c', 1, 8, 0666, 0, 0 },
	[DEVICE_URANDOM] = { "/dev/urandom", 'c', 1, 9, 0666, 0, 0 }, [DEVICE_TTY] = { "/dev/tty", 'c', 5, 0, 0666, 0, 0 },
};

/*
 * A copy of the tree at path. Unless the config has it "shared", and no user namespace makes the container less trusted than
 * the host, it shares nothing with the host's mounts: later mounts inside must not reach the host.
 */
static int clone_tree(int dirfd, const char *path, bool recursive, unsigned long propagation, bool propagation_tree, bool peers, struct rt_error *err)
{
	cleanup_fd int tree = sys_open_tree(dirfd, path, OPEN_TREE_CLONE | (recursive ? AT_RECURSIVE : 0));
	if (tree < 0)
		return rt_fail_errno(err, "open %s to mount it", path);
	bool whole = propagation && (propagation_tree || !recursive) && (propagation != MS_SHARED || peers);
	unsigned long first = propagation == MS_SLAVE || propagation == MS_SHARED ? MS_SLAVE : MS_PRIVATE;
	if (!whole && sys_mount_setattr(tree, recursive ? AT_RECURSIVE : 0, 0, 0, first) < 0)
		return rt_fail_errno(err, "set the propagation of %s", path);
	if (propagation && sys_mount_setattr(tree, propagation_tree ? AT_RECURSIVE : 0, 0, 0, propagation) < 0)
		return rt_fail_errno(err, "set the propagation of %s", path);
	return take_fd(&tree);
}

static int is_directory(int fd, bool *out, struct rt_error *err, const char *path)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return rt_fail_errno(err, "stat %s", path);
	*out = S_ISDIR(st.st_mode);
	return 0;
}

/* By any name. A copy of all that is below it would take the container's own mounts along, once they are there. */
static bool is_root(const char *path)
{
	struct stat st, root;
	return stat(path, &st) == 0 && stat("/", &root) == 0 && st.st_dev == root.st_dev && st.st_ino == root.st_ino;
}

/*
 * Whether a source means the same in the container's process, which is in a mount namespace of its own, with its root file system
 * over "/", and another self to /proc. Sharing with the host's mounts and mapped ids need the host's namespaces as well.
 */
static bool can_wait(const struct config *c, const struct mount_spec *m, const struct mount_options *o)
{
	if (ns_in_user(c) || c->ns.path[NS_MOUNT] || rootless_is() || o->propagation == MS_SHARED || o->idmap || m->source[0] != '/' || !strncmp(m->source, "/proc", 5))
		return false;
	return !o->recursive || !is_root(m->source);
}

static int prepare_bind(const struct config *c, const struct mount_spec *m, int bundle_fd, struct idmaps *maps, struct prepared_mount *p, struct rt_error *err)
{
	int r;
	const struct mount_options *o = &p->options;
	p->tree = clone_tree(bundle_fd, m->source, o->recursive, o->propagation, o->propagation_tree, !ns_in_user(c), err);
	if (p->tree < 0)
		return p->tree;
	if (o->idmap && (r = idmap_apply(maps, c, m, o->idmap_tree, p->tree, err)) < 0)
		return r;
	if ((o->set_tree || o->clear_tree) && sys_mount_setattr(p->tree, AT_RECURSIVE, o->set_tree, o->clear_tree, 0) < 0)
		return rt_fail_errno(err, "set the options of %s", m->source);
	if ((o->set || o->clear) && sys_mount_setattr(p->tree, 0, o->set, o->clear, 0) < 0)
		return rt_fail_errno(err, "set the options of %s", m->source);
	return is_directory(p->tree, &p->is_directory, err, m->source);
}

int prepare_waiting_bind(const struct config *c, const struct mount_spec *m, struct prepared_mount *p, struct rt_error *err)
{
	return prepare_bind(c, m, AT_FDCWD, NULL, p, err);
}

static mode_t device_type(const struct device_spec *d)
{
	return d->type == 'c' ? S_IFCHR : d->type == 'b' ? S_IFBLK : S_IFIFO;
}

static int prepare_device(const struct device_spec *d, uint64_t attrs, struct rt_error *err)
{
	cleanup_fd int tree = sys_open_tree(AT_FDCWD, d->path, OPEN_TREE_CLONE);
	struct stat st;
	if (tree < 0 || fstat(tree, &st) < 0)
		return rt_fail_errno(err, "open device %s", d->path);
	mode_t type = device_type(d);
	if ((st.st_mode & S_IFMT) != type || (type != S_IFIFO && st.st_rdev != makedev(d->major, d->minor)))
		return rt_fail(err, EINVAL, "the host's %s is not the device %c %u:%u", d->path, d->type, d->major, d->minor);
	if (sys_mount_setattr(tree, 0, attrs | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0, MS_PRIVATE) < 0)
		return rt_fail_errno(err, "set the options of %s", d->path);
	return take_fd(&tree);
}

/*
 * A node with the owner and mode of the config, for a container whose user namespace bars it from making one: made by the host's
 * root on a tmpfs that nobody else sees. Its name there is its number in the config. -EPERM for who may not make devices,
 * -ENOSYS on kernels that clone nothing from a mount that is nowhere attached, those before 6.15.
 */
static int make_node(const struct config *c, const struct device_spec *d, int tmpfs, size_t number, struct rt_error *err)
{
	char name[24];
	int64_t uid = ns_host_id(&c->uid_maps, d->uid), gid = ns_host_id(&c->gid_maps, d->gid);
	if (uid < 0 || gid < 0)
		return rt_fail(err, EINVAL, "config.json: device %s has an owner that the user namespace does not map", d->path);
	snprintf(name, sizeof name, "%zu", number);
	if (mknodat(tmpfs, name, device_type(d) | 0600, makedev(d->major, d->minor)) < 0)
		return rt_fail_errno(err, "make device %s", d->path);
	/* The umask is the caller's, and a new owner loses some bits: the mode comes last. */
	if (fchownat(tmpfs, name, (uid_t)uid, (gid_t)gid, AT_SYMLINK_NOFOLLOW) < 0 || fchmodat(tmpfs, name, d->mode, 0) < 0)
		return rt_fail_errno(err, "own device %s", d->path);
	int tree = sys_open_tree(tmpfs, name, OPEN_TREE_CLONE);
	return tree < 0 ? rt_fail(err, errno == EINVAL ? ENOSYS : errno, "open device %s", d->path) : tree;
}

/* In a user namespace that this container makes, its ids are known here. Where that does not go, the host's node is bound. */
static int prepare_own_devices(const struct config *c, struct prepared *p, struct rt_error *err)
{
	const struct mount_options plain = { 0 };
	cleanup_fd int tmpfs = -1;
	for (size_t i = 0; i < c->device_count; i++) {
		/* A FIFO is no device of the host's; anybody may make one. */
		if (c->devices[i].type == 'p')
			continue;
		if (tmpfs < 0 && (tmpfs = mount_make("tmpfs", "devices", "/dev", &plain, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err)) < 0)
			return tmpfs;
		p->devices[i] = make_node(c, &c->devices[i], tmpfs, i, err);
		if (p->devices[i] == -EPERM || p->devices[i] == -ENOSYS) {
			*err = (struct rt_error){ 0 };
			p->devices[i] = prepare_device(&c->devices[i], 0, err);
		}
		if (p->devices[i] < 0)
			return p->devices[i];
	}
	return 0;
}

static int prepare_devices(struct config *c, struct prepared *p, struct rt_error *err)
{
	p->bind_devices = ns_in_user(c) || rootless_is();
	p->devices = config_alloc(c, c->device_count, sizeof *p->devices);
	if (!p->devices)
		return rt_fail(err, ENOMEM, "prepare devices");
	for (size_t i = 0; i < c->device_count; i++)
		p->devices[i] = -1;
	p->mask_file = -1;
	if (c->masked_paths.count && (p->mask_file = prepare_device(&default_device_specs[DEVICE_NULL], MOUNT_ATTR_RDONLY, err)) < 0)
		return p->mask_file;
	for (int i = 0; p->bind_devices && i < DEFAULT_DEVICES; i++) {
		if ((p->default_devices[i] = prepare_device(&default_device_specs[i], 0, err)) < 0)
			return p->default_devices[i];
	}
	if (p->bind_devices && ns_has(c, NS_USER) && !rootless_is())
		return prepare_own_devices(c, p, err);
	for (size_t i = 0; p->bind_devices && i < c->device_count; i++) {
		if (c->devices[i].type != 'p' && (p->devices[i] = prepare_device(&c->devices[i], 0, err)) < 0)
			return p->devices[i];
	}
	return 0;
}

void prepare_release(const struct config *c, struct prepared *p)
{
	scope_close(&p->rootfs);
	for (size_t i = 0; i < c->mount_count; i++)
		scope_close(&p->mounts[i].tree);
	for (int i = 0; p->bind_devices && i < DEFAULT_DEVICES; i++)
		scope_close(&p->default_devices[i]);
	for (size_t i = 0; p->bind_devices && i < c->device_count; i++)
		scope_close(&p->devices[i]);
	scope_close(&p->mask_file);
}

int prepare_devices_alone(struct config *c, struct prepared *p, struct rt_error *err)
{
	*p = (struct prepared){ .rootfs = -1 };
	/* Nothing is mounted but by prepare_trees, into a list as long as its config's. */
	c->mount_count = 0;
	return prepare_devices(c, p, err);
}

int prepare_trees(struct config *c, int bundle_fd, struct prepared *p, struct rt_error *err)
{
	cleanup_idmaps struct idmaps maps = IDMAPS_NONE;
	p->mounts = config_alloc(c, c->mount_count, sizeof *p->mounts);
	if (!p->mounts)
		return rt_fail(err, ENOMEM, "prepare mounts");
	p->rootfs = clone_tree(bundle_fd, c->rootfs, true, c->rootfs_propagation == MS_SLAVE ? MS_SLAVE : MS_PRIVATE, true, false, err);
	if (p->rootfs < 0)
		return p->rootfs;
	bool directory = false;
	int r = is_directory(p->rootfs, &directory, err, c->rootfs);
	if (r == 0 && !directory)
		r = rt_fail(err, ENOTDIR, "root file system %s", c->rootfs);
	for (size_t i = 0; r == 0 && i < c->mount_count; i++) {
		p->mounts[i].tree = -1;
		const struct mount_spec *m = &c->mounts[i];
		const struct mount_options *o = &p->mounts[i].options;
		r = mount_options_parse(m, &p->mounts[i].options, err);
		if (r < 0 || !o->bind || o->remount)
			continue;
		if (!m->source || !*m->source)
			r = rt_fail(err, EINVAL, "bind mount at %s has no source", m->destination);
		else if (!p->binds_wait || !can_wait(c, m, o))
			r = prepare_bind(c, m, bundle_fd, &maps, &p->mounts[i], err);
	}
	return r;
}

int prepare_host(struct config *c, int bundle_fd, struct prepared *p, struct rt_error *err)
{
	*p = (struct prepared){ .rootfs = -1, .binds_wait = true };
	int r = prepare_trees(c, bundle_fd, p, err);
	return r < 0 ? r : prepare_devices(c, p, err);
}
