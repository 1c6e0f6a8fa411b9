#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/cgroups.h"
#include "runtime/namespaces.h"

#define DELEGATE "/sys/kernel/cgroup/delegate"

/* The last of "ro" and "rw" counts, as in mount(8). */
static bool is_writable(const struct mount_spec *m)
{
	bool writable = true;
	for (size_t i = 0; i < m->options.count; i++) {
		const char *o = m->options.at[i];
		if (!strcmp(o, "ro") || !strcmp(o, "rro"))
			writable = false;
		else if (!strcmp(o, "rw") || !strcmp(o, "rrw"))
			writable = true;
	}
	return writable;
}

/* Whether the config gives the container its own cgroup to write to. */
static bool is_wanted(const struct config *c)
{
	for (size_t i = 0; ns_has(c, NS_CGROUP) && i < c->mount_count; i++) {
		const struct mount_spec *m = &c->mounts[i];
		if (m->type && (!strcmp(m->type, "cgroup") || !strcmp(m->type, "cgroup2")) && !strcmp(m->destination, "/sys/fs/cgroup"))
			return is_writable(m);
	}
	return false;
}

int cgroups_delegate(const struct config *c, int cgroup_fd, struct rt_error *err)
{
	int64_t owner = ns_host_id(&c->uid_maps, c->process.uid);
	cleanup_free char *files = NULL;
	struct rt_error ignored = { 0 };
	if (!is_wanted(c) || owner < 0)
		return 0;
	/* By the descriptor: the path could lead elsewhere by now, a descriptor cannot. */
	if (fchown(cgroup_fd, (uid_t)owner, (gid_t)-1) < 0)
		return rt_fail_errno(err, "give the cgroup to user %lld", (long long)owner);
	/* Kernels before 4.15 have no such list; the specification names these. */
	if (fs_read_file(AT_FDCWD, DELEGATE, 4096, &files, NULL, &ignored) < 0 && !(files = strdup("cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n")))
		return rt_fail(err, ENOMEM, "give the cgroup away");
	for (char *name = strtok(files, "\n"); name; name = strtok(NULL, "\n")) {
		if (fchownat(cgroup_fd, name, (uid_t)owner, (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
			return rt_fail_errno(err, "give %s of the cgroup to user %lld", name, (long long)owner);
	}
	return 0;
}
