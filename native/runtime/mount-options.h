/* The options of a config.json mount (runtime-spec "Linux mount options"), as the mount calls want them. */
#ifndef BERTH_RUNTIME_MOUNT_OPTIONS_H
#define BERTH_RUNTIME_MOUNT_OPTIONS_H

#include "runtime/config.h"

#define MOUNT_DATA_MAX 32

struct mount_options {
	bool bind, recursive;              /* bind or rbind */
	bool remount;                      /* changes the mount that is there */
	bool idmap, idmap_tree;            /* ids are mapped: of this mount, or of those below it too */
	bool copy_up;                      /* a tmpfs that begins with what it covers */
	uint64_t set, clear;               /* MOUNT_ATTR_* of the mount itself */
	uint64_t set_tree, clear_tree;     /* of it and all mounts below: "rro" and its like */
	unsigned long propagation;         /* MS_PRIVATE etc.; 0: not given */
	bool propagation_tree;
	const char *sb_flags[4];           /* of the file system: sync, dirsync, ...; NULL-terminated */
	const char *data[MOUNT_DATA_MAX];  /* everything else, for the file system to judge; NULL-terminated */
};

/* EINVAL or ENOTSUP for an option that cannot be honoured. */
must_check int mount_options_parse(const struct mount_spec *m, struct mount_options *out, struct rt_error *err);

/* Calls fn for the name of every option that is understood and not refused, those for whole trees ("rro") included. */
void mount_options_each(void (*fn)(const char *name, void *arg), void *arg);

#endif
