#include "runtime/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "common/scope.h"
#include "runtime/mount-api.h"
#include "runtime/namespaces.h"

/* A user namespace lives as long as a process or a descriptor is in it: a child holds it until it has maps and is opened. */
static int make_namespace(const struct id_maps *uid, const struct id_maps *gid, struct rt_error *err)
{
	struct clone_args args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
	pid_t parent = getpid(), pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	char path[32];
	if (pid < 0)
		return rt_fail_errno(err, "make a user namespace");
	if (pid == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
			pause();
		_exit(0);
	}
	int r = ns_write_id_maps(pid, uid, gid, err);
	snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
	int fd = r < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	if (r == 0 && fd < 0)
		r = rt_fail_errno(err, "open a user namespace");
	kill(pid, SIGKILL);
	retry_eintr(waitpid(pid, NULL, 0));
	return r < 0 ? r : fd;
}

static int open_own(const struct mount_spec *m, struct rt_error *err)
{
	int fd = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? rt_fail_errno(err, "mount at %s: open the user namespace", m->destination) : fd;
}

static int of_container(struct idmaps *maps, const struct config *c, const struct mount_spec *m, struct rt_error *err)
{
	if (maps->container >= 0)
		return maps->container;
	if (c->ns.path[NS_USER]) {
		maps->container = open(c->ns.path[NS_USER], O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		return maps->container < 0 ? rt_fail_errno(err, "open %s", c->ns.path[NS_USER]) : maps->container;
	}
	if (c->ns.entered)
		return maps->container = open_own(m, err);
	if (!ns_has(c, NS_USER))
		return rt_fail(err, EINVAL, "mount at %s: idmap needs uidMappings and gidMappings, or a container in a user namespace", m->destination);
	return maps->container = make_namespace(&c->uid_maps, &c->gid_maps, err);
}

static bool equal(const struct id_maps *a, const struct id_maps *b)
{
	return a->count == b->count && !memcmp(a->at, b->at, a->count * sizeof *a->at);
}

static int of_mount(struct idmaps *maps, const struct mount_spec *m, struct rt_error *err)
{
	if (maps->last >= 0 && equal(&maps->uid, &m->uid_maps) && equal(&maps->gid, &m->gid_maps))
		return maps->last;
	scope_close(&maps->last);
	maps->uid = m->uid_maps;
	maps->gid = m->gid_maps;
	return maps->last = make_namespace(&m->uid_maps, &m->gid_maps, err);
}

int idmap_apply(struct idmaps *maps, const struct config *c, const struct mount_spec *m, bool recursive, int tree, struct rt_error *err)
{
	int userns = m->uid_maps.count ? of_mount(maps, m, err) : of_container(maps, c, m, err);
	if (userns < 0)
		return userns;
	if (sys_mount_idmap(tree, recursive ? AT_RECURSIVE : 0, userns) < 0)
		return rt_fail(err, errno, errno == EINVAL ? "mount at %s: the file system of %s knows no mapped ids" : "mount at %s: map the ids of %s", m->destination, m->source);
	return 0;
}

void idmap_close(struct idmaps *maps)
{
	scope_close(&maps->container);
	scope_close(&maps->last);
}
