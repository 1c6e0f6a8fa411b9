#include "layer/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"

int idmap_parse(const char *text, struct idmap *out, struct rt_error *err)
{
	unsigned long long first, base, count;
	char rest;
	bool digits = strspn(text, "0123456789:") == strlen(text) && strlen(text) < 40;
	if (!digits || sscanf(text, "%llu:%llu:%llu%c", &first, &base, &count, &rest) != 3)
		return rt_fail(err, EINVAL, "an id map is FIRST:BASE:COUNT, not %.60s", text);
	/* The last id is the kernel's word for none. */
	if (count == 0 || count > UINT32_MAX || first > UINT32_MAX - count || base > UINT32_MAX - count)
		return rt_fail(err, EINVAL, "id map out of range: %s", text);
	*out = (struct idmap){ (uint32_t)first, (uint32_t)base, (uint32_t)count };
	return 0;
}

/* The child makes the namespace, says so, and holds it until it is killed. */
static void hold_namespace(int ready)
{
	char failed = unshare(CLONE_NEWUSER) < 0 ? (char)errno : 0;
	if (write(ready, &failed, 1) == 1)
		pause();
	_exit(0);
}

static int write_map(pid_t pid, const char *file, const struct idmap *map, struct rt_error *err)
{
	char path[64], text[64];
	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	snprintf(text, sizeof text, "%u %u %u\n", map->first, map->base, map->count);
	int r = fs_write_at(AT_FDCWD, path, text);
	return r < 0 ? rt_fail(err, r, "map ids to %u..%u", map->base, map->base + map->count - 1) : 0;
}

static int open_mapped(pid_t pid, int ready, const struct idmap *map, int *userns_fd, struct rt_error *err)
{
	char failed = 0;
	if (retry_eintr(read(ready, &failed, 1)) != 1)
		return rt_fail(err, EIO, "make a user namespace");
	if (failed)
		return rt_fail(err, failed, "make a user namespace");
	int r = write_map(pid, "uid_map", map, err);
	if (r == 0)
		r = write_map(pid, "gid_map", map, err);
	if (r < 0)
		return r;
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
	*userns_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *userns_fd < 0 ? rt_fail_errno(err, "open a user namespace") : 0;
}

int idmap_open(const struct idmap *map, int *userns_fd, struct rt_error *err)
{
	int ready[2];
	if (pipe2(ready, O_CLOEXEC) < 0)
		return rt_fail_errno(err, "make a pipe");
	cleanup_fd int from = ready[0], to = ready[1];
	pid_t pid = fork();
	if (pid < 0)
		return rt_fail_errno(err, "fork");
	if (pid == 0)
		hold_namespace(to);
	scope_close(&to);
	to = -1;
	int r = open_mapped(pid, from, map, userns_fd, err);
	kill(pid, SIGKILL);
	retry_eintr(waitpid(pid, NULL, 0));
	return r;
}
