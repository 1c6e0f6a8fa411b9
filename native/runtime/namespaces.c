#include "runtime/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

#include <linux/nsfs.h>

#include "common/fs.h"
#include "common/scope.h"

static const struct { unsigned long flag; const char *name; } kinds[NS_KINDS] = {
	[NS_USER] = { CLONE_NEWUSER, "user" }, [NS_PID] = { CLONE_NEWPID, "pid" }, [NS_NET] = { CLONE_NEWNET, "network" }, [NS_MOUNT] = { CLONE_NEWNS, "mount" },
	[NS_IPC] = { CLONE_NEWIPC, "ipc" },    [NS_UTS] = { CLONE_NEWUTS, "uts" }, [NS_CGROUP] = { CLONE_NEWCGROUP, "cgroup" },
	[NS_TIME] = { CLONE_NEWTIME, "time" },
};

unsigned long ns_flags(unsigned set)
{
	unsigned long flags = 0;
	for (int k = 0; k < NS_KINDS; k++) {
		if (set & (1u << k))
			flags |= kinds[k].flag;
	}
	return flags;
}

void ns_close(int fds[NS_KINDS])
{
	for (int k = 0; k < NS_KINDS; k++) {
		if (fds[k] >= 0)
			close(fds[k]);
		fds[k] = -1;
	}
}

/* Its mounts would be gone with the pivot: for every process that is in it. */
static int refuse_own_mounts(int fd, const char *path, struct rt_error *err)
{
	struct stat st, own;
	if (fstat(fd, &st) < 0 || stat("/proc/self/ns/mnt", &own) < 0)
		return rt_fail_errno(err, "look at the mount namespace %s", path);
	if (st.st_ino == own.st_ino && st.st_dev == own.st_dev)
		return rt_fail(err, EINVAL, "%s is the mount namespace that the runtime is in; give the container one of its own", path);
	return 0;
}

int ns_open(const struct config *c, int fds[NS_KINDS], struct rt_error *err)
{
	for (int k = 0; k < NS_KINDS; k++)
		fds[k] = -1;
	for (int k = 0; k < NS_KINDS; k++) {
		if (!c->ns.path[k])
			continue;
		fds[k] = open(c->ns.path[k], O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (fds[k] < 0)
			return rt_fail_errno(err, "open %s namespace %s", kinds[k].name, c->ns.path[k]);
		int type = ioctl(fds[k], NS_GET_NSTYPE);
		if (type < 0 || (unsigned long)type != kinds[k].flag)
			return rt_fail(err, EINVAL, "%s is no %s namespace", c->ns.path[k], kinds[k].name);
		int r = k == NS_MOUNT ? refuse_own_mounts(fds[k], c->ns.path[k], err) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

int ns_join(const int fds[NS_KINDS], struct rt_error *err)
{
	bool joined[NS_KINDS] = { false };
	for (int k = 0; k < NS_KINDS; k++)
		joined[k] = fds[k] < 0 || (k != NS_USER && setns(fds[k], (int)kinds[k].flag) == 0);
	for (int k = 0; k < NS_KINDS; k++) {
		if (!joined[k] && setns(fds[k], (int)kinds[k].flag) < 0)
			return rt_fail_errno(err, "join the %s namespace", kinds[k].name);
	}
	return 0;
}

int ns_make_time(const struct config *c, struct rt_error *err)
{
	char text[96];
	if (unshare(CLONE_NEWTIME) < 0)
		return rt_fail(err, errno, errno == EINVAL ? "this kernel has no time namespaces" : "make a time namespace");
	snprintf(text, sizeof text, "monotonic %lld %u\nboottime %lld %u\n", (long long)c->ns.monotonic_s, c->ns.monotonic_ns, (long long)c->ns.boottime_s,
		 c->ns.boottime_ns);
	int r = c->ns.has_offsets ? fs_write_at(AT_FDCWD, "/proc/self/timens_offsets", text) : 0;
	if (r < 0)
		return rt_fail(err, r, "set timeOffsets");
	/* Till here it was only for children. */
	cleanup_fd int fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWTIME) < 0)
		return rt_fail_errno(err, "enter the time namespace");
	return 0;
}

static int write_map(pid_t pid, const char *file, const struct id_maps *maps, struct rt_error *err)
{
	char path[64];
	cleanup_free char *text = malloc(maps->count * 40 + 1);
	if (!text)
		return rt_fail(err, ENOMEM, "write %s", file);
	size_t n = 0;
	for (size_t i = 0; i < maps->count; i++)
		n += (size_t)snprintf(text + n, 40, "%u %u %u\n", maps->at[i].inside, maps->at[i].outside, maps->at[i].count);
	snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
	int r = fs_write_at(AT_FDCWD, path, text);
	return r < 0 ? rt_fail(err, r, "write the container's %s", file) : 0;
}

int ns_write_id_maps(pid_t pid, const struct id_maps *uid, const struct id_maps *gid, struct rt_error *err)
{
	int r = write_map(pid, "uid_map", uid, err);
	return r < 0 ? r : write_map(pid, "gid_map", gid, err);
}

int64_t ns_host_id(const struct id_maps *maps, uint32_t id)
{
	if (maps->count == 0)
		return id;
	for (size_t i = 0; i < maps->count; i++) {
		const struct id_map *m = &maps->at[i];
		if (id >= m->inside && id - m->inside < m->count)
			return (int64_t)m->outside + (id - m->inside);
	}
	return -1;
}

bool ns_maps_host_id(const struct id_maps *maps, uint32_t id)
{
	if (maps->count == 0)
		return true;
	for (size_t i = 0; i < maps->count; i++) {
		const struct id_map *m = &maps->at[i];
		if (id >= m->outside && id - m->outside < m->count)
			return true;
	}
	return false;
}

int ns_loopback_up(struct rt_error *err)
{
	cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return rt_fail_errno(err, "open a socket in the network namespace");
	struct ifreq req = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK };
	if (ioctl(fd, SIOCSIFFLAGS, &req) < 0)
		return rt_fail_errno(err, "bring the loopback interface up");
	return 0;
}
