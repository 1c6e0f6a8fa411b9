/*
 * What the runtime opens on the host's side, with the host's rights, before the container's process exists: detached,
 * finished mount trees of the root file system, of bind mounts and of device nodes. The process inside only attaches
 * them, so no host path is ever looked up with the container's rights or within its file system. Plain bind mounts of a
 * container without a user namespace, whose first process has the host's rights until it pivots, are opened by it.
 */
#ifndef BERTH_RUNTIME_PREPARE_H
#define BERTH_RUNTIME_PREPARE_H

#include "runtime/cgroups.h"
#include "runtime/mount-options.h"

struct prepared_mount {
	struct mount_options options;
	int tree;          /* bind mounts: a detached tree; -1: made when its turn comes. A tmpfs that turns read-only at the end: its mount. Else -1 */
	bool is_directory;
};

/* Devices that stand in every container's /dev (runtime-spec "Default Devices"). */
enum { DEVICE_NULL, DEVICE_ZERO, DEVICE_FULL, DEVICE_RANDOM, DEVICE_URANDOM, DEVICE_TTY, DEFAULT_DEVICES };
extern const struct device_spec default_device_specs[DEFAULT_DEVICES];

struct prepared {
	int rootfs;                     /* detached tree, private to the container */
	bool binds_wait;                /* plain bind mounts of the host's root are made in their turn, so that the kernel (6.8 or newer) lists all mounts in the config's order */
	struct prepared_mount *mounts;  /* one for each of config.mounts */
	bool bind_devices;              /* device nodes are bound, not made inside: a user namespace bars mknod */
	int default_devices[DEFAULT_DEVICES]; /* trees, when bind_devices */
	int mask_file;                  /* a tree of /dev/null to mask files with; -1 when none are masked */
	int *devices;                   /* trees, one for each of config.devices, when bind_devices */
};

/* Closes everything that prepare_host opened. */
void prepare_release(const struct config *c, struct prepared *p);

/* prepare_host in its two halves: the devices, which need no bundle, and then, into the same struct, the root file system and the mounts. */
must_check int prepare_devices_alone(struct config *c, struct prepared *out, struct rt_error *err);
must_check int prepare_trees(struct config *c, int bundle_fd, struct prepared *out, struct rt_error *err);

/* The tree of a bind mount that waited, by the container's process, for which the host's paths still mean what they do outside. */
must_check int prepare_waiting_bind(const struct config *c, const struct mount_spec *m, struct prepared_mount *p, struct rt_error *err);

must_check int prepare_host(struct config *c, int bundle_fd, struct prepared *out, struct rt_error *err);

#endif
