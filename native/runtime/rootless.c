#include "runtime/rootless.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/namespaces.h"

#define INITIAL_USERNS 0xeffffffdU /* PROC_USER_INIT_INO: the same number since there are such files */
#define MAP_ARGS 1024

bool rootless_is(void)
{
	/* Asked in several places, and never different: a process only ever goes further down. */
	static int known = -1;
	struct stat st;
	if (known < 0)
		known = geteuid() != 0 || (stat("/proc/self/ns/user", &st) == 0 && st.st_ino != INITIAL_USERNS);
	return known;
}

bool rootless_keeps_groups(const struct config *c)
{
	struct rt_error ignored = { 0 };
	cleanup_free char *text = NULL;
	if (!rootless_is())
		return false;
	if (geteuid() != 0 && ns_has(c, NS_USER))
		return c->gid_maps.count == 1 && c->gid_maps.at[0].count == 1;
	return fs_read_file(AT_FDCWD, "/proc/self/setgroups", 64, &text, NULL, &ignored) == 0 && !strncmp(text, "deny", 4);
}

const char *rootless_state_root(void)
{
	static char path[PATH_MAX];
	const char *dir = getenv("XDG_RUNTIME_DIR");
	if (dir && dir[0] == '/')
		snprintf(path, sizeof path, "%s/berth", dir);
	else
		snprintf(path, sizeof path, "/run/user/%u/berth", geteuid());
	return path;
}

/* A child that waits for a word and then becomes newuidmap or newgidmap of this process. */
struct mapper {
	const char *program;
	pid_t pid;
	int go; /* write end */
};

static const char *const places[] = { "/usr/bin", "/bin", "/usr/local/bin", "/sbin", "/usr/sbin" };

static _Noreturn void become_mapper(const struct mapper *m, pid_t target, const struct id_maps *maps, int go)
{
	static char *argv[MAP_ARGS];
	char numbers[MAP_ARGS][12], pid[12], byte;
	char *const none[] = { NULL };
	size_t n = 2;
	snprintf(pid, sizeof pid, "%d", target);
	argv[0] = (char *)m->program;
	argv[1] = pid;
	for (size_t i = 0; i < maps->count && n + 3 < MAP_ARGS; i++) {
		const uint32_t values[] = { maps->at[i].inside, maps->at[i].outside, maps->at[i].count };
		for (int k = 0; k < 3; k++, n++) {
			snprintf(numbers[n], sizeof numbers[n], "%u", values[k]);
			argv[n] = numbers[n];
		}
	}
	if (retry_eintr(read(go, &byte, 1)) != 1)
		_exit(1);
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		char path[64];
		snprintf(path, sizeof path, "%s/%s", places[i], m->program);
		execve(path, argv, none);
	}
	_exit(127);
}

static int start_mapper(struct mapper *m, const struct id_maps *maps, struct rt_error *err)
{
	int fds[2];
	pid_t self = getpid();
	if (maps->count * 3 + 3 > MAP_ARGS)
		return rt_fail(err, E2BIG, "config.json: too many id mappings for %s", m->program);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return rt_fail_errno(err, "make a pipe");
	m->go = fds[1];
	m->pid = fork();
	if (m->pid < 0) {
		close(fds[0]);
		return rt_fail_errno(err, "start %s", m->program);
	}
	if (m->pid == 0) {
		close(fds[1]);
		become_mapper(m, self, maps, fds[0]);
	}
	close(fds[0]);
	return 0;
}

static int finish_mapper(struct mapper *m, bool go, struct rt_error *err)
{
	int status = 0;
	if (m->pid <= 0)
		return 0;
	/* Without a word it ends when the pipe does. */
	if (go && write(m->go, "", 1) < 0)
		go = false;
	scope_close(&m->go);
	m->go = -1;
	pid_t pid = m->pid;
	m->pid = 0;
	if (retry_eintr(waitpid(pid, &status, 0)) < 0)
		return rt_fail_errno(err, "wait for %s", m->program);
	if (!go)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return rt_fail(err, ENOTSUP, "%s is not installed (package uidmap): it maps the ids that /etc/subuid and /etc/subgid give a user", m->program);
	if (status != 0)
		return rt_fail(err, EPERM, "%s refuses the config's id mappings; /etc/subuid and /etc/subgid say what this user may map", m->program);
	return 0;
}

/* What the kernel lets anybody map: their own id and no other. */
static bool is_own_id(const struct id_maps *maps, uint32_t id)
{
	return maps->count == 1 && maps->at[0].count == 1 && maps->at[0].outside == id;
}

static int map_own_id(const char *file, const struct id_maps *maps, struct rt_error *err)
{
	char text[40];
	snprintf(text, sizeof text, "%u %u 1\n", maps->at[0].inside, maps->at[0].outside);
	int r = fs_write_at(AT_FDCWD, file, text);
	return r < 0 ? rt_fail(err, r, "write %s", file) : 0;
}

static int map_ids(const struct config *c, uid_t uid, gid_t gid, struct mapper *users, struct mapper *groups, struct rt_error *err)
{
	int r = finish_mapper(users, true, err);
	if (r == 0)
		r = finish_mapper(groups, true, err);
	if (r == 0 && is_own_id(&c->uid_maps, uid))
		r = map_own_id("/proc/self/uid_map", &c->uid_maps, err);
	if (r < 0 || !is_own_id(&c->gid_maps, gid))
		return r;
	/* The kernel's condition: else one could leave a group that is there to keep people out. */
	if ((r = fs_write_at(AT_FDCWD, "/proc/self/setgroups", "deny")) < 0)
		return rt_fail(err, r, "write /proc/self/setgroups");
	return map_own_id("/proc/self/gid_map", &c->gid_maps, err);
}

static int unshare_mapped(const struct config *c, struct mapper *users, struct mapper *groups, struct rt_error *err)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int r;
	if (!is_own_id(&c->uid_maps, uid) && (r = start_mapper(users, &c->uid_maps, err)) < 0)
		return r;
	if (!is_own_id(&c->gid_maps, gid) && (r = start_mapper(groups, &c->gid_maps, err)) < 0)
		return r;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return rt_fail_errno(err, "make a user namespace as an ordinary user");
	return map_ids(c, uid, gid, users, groups, err);
}

static int become_its_root(const struct config *c, struct rt_error *err)
{
	if (ns_host_id(&c->gid_maps, 0) >= 0 && syscall(SYS_setresgid, 0, 0, 0) < 0)
		return rt_fail_errno(err, "become the user namespace's root group");
	if (ns_host_id(&c->uid_maps, 0) >= 0 && syscall(SYS_setresuid, 0, 0, 0) < 0)
		return rt_fail_errno(err, "become the user namespace's root");
	/* A change of ids closes /proc/self, which leads to sockets and namespaces here. Nobody inside sees this process. */
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
		return rt_fail_errno(err, "open /proc/self");
	return 0;
}

int rootless_enter(struct config *c, struct rt_error *err)
{
	struct mapper users = { .program = "newuidmap", .go = -1 }, groups = { .program = "newgidmap", .go = -1 };
	struct rt_error ignored = { 0 };
	if (!ns_has(c, NS_USER))
		return rt_fail(err, ENOTSUP, "an ordinary user's container needs a user namespace of its own, with uidMappings and gidMappings");
	if (!ns_maps_host_id(&c->uid_maps, geteuid()))
		return rt_fail(err, EINVAL, "config.json: uidMappings must map the user's own id, %u, whose files the container's are", geteuid());
	int r = unshare_mapped(c, &users, &groups, err);
	/* Those that were not needed after all. */
	if (finish_mapper(&users, false, &ignored) < 0 || finish_mapper(&groups, false, &ignored) < 0)
		r = r < 0 ? r : rt_fail(err, ignored.code, "%s", ignored.text);
	if (r < 0 || (r = become_its_root(c, err)) < 0)
		return r;
	/* The host's later mounts still arrive here; nothing goes back. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return rt_fail_errno(err, "detach from the host's mounts");
	c->ns.entered = true;
	c->ns.create &= ~(1u << NS_USER);
	c->uid_maps = c->gid_maps = (struct id_maps){ 0 };
	return 0;
}

static bool may_write(const char *dir, const char *file)
{
	char path[PATH_MAX];
	return snprintf(path, sizeof path, "%s/%s", dir, file) < (int)sizeof path && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

/* Whether `path` on the v2 hierarchy is delegated: children can be made in it, and processes moved between them. */
static bool is_delegated(const struct cg_hierarchy *h, const char *path)
{
	char dir[PATH_MAX];
	if (snprintf(dir, sizeof dir, "%s%s", h->mount, path) >= (int)sizeof dir)
		return false;
	return may_write(dir, "cgroup.procs") && may_write(dir, "cgroup.subtree_control") && faccessat(AT_FDCWD, dir, W_OK, AT_EACCESS) == 0;
}

bool rootless_cgroup(const struct cg_layout *l, char *out, size_t size)
{
	cleanup_free char *text = NULL;
	struct rt_error ignored = { 0 };
	if (l->unified < 0 || fs_read_file(AT_FDCWD, "/proc/self/cgroup", 65536, &text, NULL, &ignored) < 0)
		return false;
	const struct cg_hierarchy *h = &l->hierarchies[l->unified];
	const char *line = strncmp(text, "0::", 3) ? strstr(text, "\n0::") : text;
	if (!line || snprintf(out, size, "%.*s", (int)strcspn(line + (*line == '\n'), "\n"), line + (*line == '\n')) >= (int)size)
		return false;
	memmove(out, out + 3, strlen(out + 3) + 1);
	/* The one above first: a cgroup that holds this process can give its children no controller. */
	bool own = is_delegated(h, out);
	char *slash = strrchr(out, '/');
	if (!slash || out[1] == 0)
		return own;
	*slash = 0;
	if (own && is_delegated(h, out))
		return true;
	*slash = '/';
	return own;
}
