#include "runtime/mount-options.h"

#include <errno.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/mount.h>

#include "runtime/log.h"

enum kind { SET, CLEAR, ATIME, PROPAGATION, SB_FLAG, IGNORE, REFUSE, IDMAP, COPY_UP, REMOUNT };

static const struct { const char *name; enum kind kind; uint64_t value; } table[] = {
	{ "ro", SET, MOUNT_ATTR_RDONLY },
	{ "rw", CLEAR, MOUNT_ATTR_RDONLY },
	{ "nosuid", SET, MOUNT_ATTR_NOSUID },
	{ "suid", CLEAR, MOUNT_ATTR_NOSUID },
	{ "nodev", SET, MOUNT_ATTR_NODEV },
	{ "dev", CLEAR, MOUNT_ATTR_NODEV },
	{ "noexec", SET, MOUNT_ATTR_NOEXEC },
	{ "exec", CLEAR, MOUNT_ATTR_NOEXEC },
	{ "nodiratime", SET, MOUNT_ATTR_NODIRATIME },
	{ "diratime", CLEAR, MOUNT_ATTR_NODIRATIME },
	{ "nosymfollow", SET, MOUNT_ATTR_NOSYMFOLLOW },
	{ "symfollow", CLEAR, MOUNT_ATTR_NOSYMFOLLOW },
	{ "relatime", ATIME, MOUNT_ATTR_RELATIME },
	{ "noatime", ATIME, MOUNT_ATTR_NOATIME },
	{ "strictatime", ATIME, MOUNT_ATTR_STRICTATIME },
	{ "atime", ATIME, MOUNT_ATTR_RELATIME },
	{ "norelatime", ATIME, MOUNT_ATTR_STRICTATIME },
	{ "nostrictatime", ATIME, MOUNT_ATTR_RELATIME },
	{ "private", PROPAGATION, MS_PRIVATE },
	{ "slave", PROPAGATION, MS_SLAVE },
	{ "shared", PROPAGATION, MS_SHARED },
	{ "unbindable", PROPAGATION, MS_UNBINDABLE },
	{ "sync", SB_FLAG, 0 },
	{ "dirsync", SB_FLAG, 0 },
	{ "lazytime", SB_FLAG, 0 },
	{ "async", IGNORE, 0 },
	{ "nolazytime", IGNORE, 0 },
	{ "defaults", IGNORE, 0 },
	{ "silent", IGNORE, 0 },
	{ "loud", IGNORE, 0 },
	{ "remount", REMOUNT, 0 },
	{ "nomand", IGNORE, 0 },
	{ "mand", REFUSE, 0 },
	{ "idmap", IDMAP, 0 },
	{ "tmpcopyup", COPY_UP, 0 },
	{ "copy-symlink", REFUSE, 0 },
};

static int find(const char *name)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		if (!strcmp(table[i].name, name))
			return (int)i;
	}
	return -1;
}

static void apply_attr(uint64_t *set, uint64_t *clear, enum kind kind, uint64_t value)
{
	/* The last of two that contradict each other counts, as in mount(8). */
	if (kind == SET) {
		*set |= value;
		*clear &= ~value;
	} else if (kind == CLEAR) {
		*clear |= value;
		*set &= ~value;
	} else {
		*clear |= MOUNT_ATTR__ATIME;
		*set = (*set & ~(uint64_t)MOUNT_ATTR__ATIME) | value;
	}
}

static int apply(const char *option, const struct mount_spec *m, struct mount_options *o, size_t *sb, size_t *data, struct rt_error *err)
{
	if (!strcmp(option, "bind") || !strcmp(option, "rbind")) {
		o->bind = true;
		o->recursive |= option[0] == 'r';
		return 0;
	}
	bool tree = false;
	int i = find(option);
	/* "rro", "rnosuid", "rprivate": the same for the whole tree. */
	if (i < 0 && option[0] == 'r' && (i = find(option + 1)) >= 0) {
		tree = true;
		if (table[i].kind > PROPAGATION && table[i].kind != IDMAP)
			i = -1;
	}
	if (i < 0) {
		if (*data + 1 >= MOUNT_DATA_MAX)
			return rt_fail(err, EINVAL, "mount at %s has too many options", m->destination);
		o->data[(*data)++] = option;
		return 0;
	}
	switch (table[i].kind) {
	case SET:
	case CLEAR:
	case ATIME:
		apply_attr(tree ? &o->set_tree : &o->set, tree ? &o->clear_tree : &o->clear, table[i].kind, table[i].value);
		return 0;
	case PROPAGATION:
		o->propagation = table[i].value;
		o->propagation_tree = tree;
		return 0;
	case SB_FLAG:
		if (*sb + 1 < sizeof o->sb_flags / sizeof *o->sb_flags)
			o->sb_flags[(*sb)++] = table[i].name;
		return 0;
	case IDMAP:
		o->idmap = true;
		o->idmap_tree = tree;
		return 0;
	case COPY_UP:
		o->copy_up = true;
		return 0;
	case REMOUNT:
		o->remount = true;
		return 0;
	case IGNORE:
		return 0;
	case REFUSE:
		break;
	}
	return rt_fail(err, ENOTSUP, "mount at %s: option %s is not supported", m->destination, option);
}

int mount_options_parse(const struct mount_spec *m, struct mount_options *o, struct rt_error *err)
{
	size_t sb = 0, data = 0;
	*o = (struct mount_options){ .bind = m->type && !strcmp(m->type, "bind") };
	for (size_t i = 0; i < m->options.count; i++) {
		int r = apply(m->options.at[i], m, o, &sb, &data, err);
		if (r < 0)
			return r;
	}
	/* Settings of a file system, such as mode=755, mean nothing to a bind mount; the kernel has always passed over them. */
	while (o->bind && data && strchr(o->data[data - 1], '=')) {
		log_warning("bind mount at %s: option %s has no effect", m->destination, o->data[--data]);
		o->data[data] = NULL;
	}
	if (o->bind && (data || sb))
		return rt_fail(err, EINVAL, "bind mount at %s: option %s is unknown", m->destination, data ? o->data[0] : o->sb_flags[0]);
	o->idmap |= m->uid_maps.count > 0;
	if (o->idmap && (!o->bind || o->remount))
		return rt_fail(err, ENOTSUP, "mount at %s: only bind mounts can have their ids mapped", m->destination);
	if (o->copy_up && (!m->type || strcmp(m->type, "tmpfs")))
		return rt_fail(err, EINVAL, "mount at %s: tmpcopyup is for tmpfs", m->destination);
	if (!o->bind && !o->remount && !m->type)
		return rt_fail(err, EINVAL, "mount at %s has no type", m->destination);
	return 0;
}

void mount_options_each(void (*fn)(const char *name, void *arg), void *arg)
{
	fn("bind", arg);
	fn("rbind", arg);
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		char tree[32] = "r";
		if (table[i].kind == REFUSE)
			continue;
		fn(table[i].name, arg);
		if (table[i].kind <= PROPAGATION || table[i].kind == IDMAP)
			fn(strcat(tree, table[i].name), arg);
	}
}
