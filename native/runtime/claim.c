#include "runtime/claim.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/scope.h"
#include "runtime/namespaces.h"
#include "runtime/sync.h"

#define PIECE 65536u

struct claim_head {
	uint64_t text_len;
	uint32_t trees;
};

union tree_rights {
	char bytes[CMSG_SPACE(sizeof(int) * CLAIM_TREES_MAX)];
	struct cmsghdr align;
};

int claim_check_parkable(const struct config *c, struct rt_error *err)
{
	if (!ns_has(c, NS_USER))
		return rt_fail(err, ENOTSUP, "park: linux.namespaces must have a new user namespace");
	for (int k = 0; k < NS_KINDS; k++) {
		if (c->ns.path[k])
			return rt_fail(err, ENOTSUP, "park: linux.namespaces: %s namespace is joined by its path; leave the path out", ns_names[k]);
	}
	for (enum hook_stage s = HOOK_CREATE_CONTAINER; s <= HOOK_POSTSTART; s++) {
		if (c->hooks[s].count)
			return rt_fail(err, ENOTSUP, "park: hooks.%s: only hooks that run before the program is known can run for a parked container", hook_stage_names[s]);
	}
	if (c->ns.path[NS_MOUNT])
		return rt_fail(err, ENOTSUP, "park: linux.namespaces: the mount namespace must be new");
	if (c->process.terminal)
		return rt_fail(err, ENOTSUP, "park: process.terminal must be false");
	if (!c->process.no_new_privileges)
		return rt_fail(err, ENOTSUP, "park: process.noNewPrivileges must be true");
	return 0;
}

static bool is_among(const char *name, const char *const *names)
{
	for (; *names; names++) {
		if (strcmp(name, *names) == 0)
			return true;
	}
	return false;
}

/* Compares the members of two objects but for those in `free`. Members that only one has differ, too. */
static int compare(const char *where, const struct json *parked, const struct json *claimed, const char *const *free, struct rt_error *err)
{
	const struct json *both[] = { parked, claimed };
	for (int side = 0; side < 2; side++) {
		json_each(it, both[side]) {
			const struct json *other = json_get(both[!side], it->key);
			if (!is_among(it->key, free) && !json_equal(it, other))
				return rt_fail(err, EINVAL, "claim: %s%s differs from that of the parked container", where, it->key);
		}
	}
	return 0;
}

int claim_check(const struct config *parked, const struct config *claimed, enum init_park park, struct rt_error *err)
{
	static const char *const top_of_root[] = { "hostname", "annotations", "process", "linux", NULL };
	static const char *const top_of_bare[] = { "hostname", "annotations", "process", "linux", "root", "mounts", NULL };
	static const char *const process[] = { "args", "env", "user", NULL };
	static const char *const none[] = { NULL };
	static const char *const linux_of_bare[] = { "resources", NULL };
	const struct json *was = json_root(parked->doc), *is = json_root(claimed->doc);
	bool bare = park == PARK_BARE;
	int r = claim_check_parkable(claimed, err);
	if (r < 0 || (r = compare("", was, is, bare ? top_of_bare : top_of_root, err)) < 0 ||
	    (r = compare("linux.", json_get(was, "linux"), json_get(is, "linux"), bare ? linux_of_bare : none, err)) < 0)
		return r;
	if (!bare && (r = compare("process.", json_get(was, "process"), json_get(is, "process"), process, err)) < 0)
		return r;
	/* It keeps the name it was parked with, which is nobody's. */
	return claimed->hostname ? 0 : rt_fail(err, EINVAL, "claim: hostname is missing");
}

static int list_trees(const struct prepared *trees, size_t mount_count, int out[CLAIM_TREES_MAX], uint32_t *count, struct rt_error *err)
{
	out[(*count)++] = trees->rootfs;
	for (size_t i = 0; i < mount_count; i++) {
		if (trees->mounts[i].tree < 0)
			continue;
		if (*count == CLAIM_TREES_MAX)
			return rt_fail(err, E2BIG, "claim: mounts has more than %d bind mounts", CLAIM_TREES_MAX - 1);
		out[(*count)++] = trees->mounts[i].tree;
	}
	return 0;
}

int claim_send(int sync_fd, const struct config *c, const struct prepared *trees, struct rt_error *err)
{
	int fds[CLAIM_TREES_MAX];
	struct claim_head head = { .text_len = c->text_len };
	int r = trees ? list_trees(trees, c->mount_count, fds, &head.trees, err) : 0;
	if (r < 0)
		return r;
	union tree_rights rights = { 0 };
	struct iovec part = { &head, sizeof head };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
	if (head.trees) {
		m.msg_control = rights.bytes;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * head.trees);
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		*h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * head.trees) };
		memcpy(CMSG_DATA(h), fds, sizeof(int) * head.trees);
	}
	if (retry_eintr(sendmsg(sync_fd, &m, MSG_NOSIGNAL)) < 0)
		return rt_fail_errno(err, "hand over the claim");
	for (size_t sent = 0; sent < c->text_len;) {
		size_t n = c->text_len - sent < PIECE ? c->text_len - sent : PIECE;
		if (retry_eintr(send(sync_fd, c->text + sent, n, MSG_NOSIGNAL)) < 0)
			return rt_fail_errno(err, "hand over the claim");
		sent += n;
	}
	return 0;
}

static int receive_head(int fd, struct claim_head *head, int fds[CLAIM_TREES_MAX], struct rt_error *err)
{
	union tree_rights rights;
	struct iovec part = { head, sizeof *head };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = rights.bytes, .msg_controllen = sizeof rights.bytes };
	ssize_t n = retry_eintr(recvmsg(fd, &m, MSG_CMSG_CLOEXEC));
	if (n <= 0)
		return rt_fail(err, n < 0 ? errno : ECONNRESET, "wait for a claim");
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	size_t got = h && h->cmsg_type == SCM_RIGHTS ? (h->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
	if (got)
		memcpy(fds, CMSG_DATA(h), got * sizeof(int));
	if (n != sizeof *head || (m.msg_flags & MSG_CTRUNC) || got != head->trees || head->text_len > JSON_MAX_BYTES)
		return rt_fail(err, EPROTO, "the claim is damaged");
	return 0;
}

static int receive_text(int fd, size_t len, struct config *c, struct rt_error *err)
{
	*c = (struct config){ .rootfs_propagation = MS_PRIVATE, .text_len = len };
	c->text = malloc(len + 1);
	if (!c->text)
		return rt_fail(err, ENOMEM, "read the claim");
	for (size_t fill = 0; fill < len;) {
		ssize_t n = retry_eintr(recv(fd, c->text + fill, len - fill, 0));
		if (n <= 0)
			return rt_fail(err, n < 0 ? errno : ECONNRESET, "read the claim");
		fill += (size_t)n;
	}
	c->text[len] = 0;
	return config_parse(c, err);
}

/* As claim_send listed them. */
static int take_trees(struct config *c, const int *fds, uint32_t count, struct prepared *p, struct rt_error *err)
{
	uint32_t next = 0;
	p->mounts = config_alloc(c, c->mount_count, sizeof *p->mounts);
	if (!p->mounts)
		return rt_fail(err, ENOMEM, "read the claim");
	p->rootfs = count ? fds[next++] : -1;
	for (size_t i = 0; i < c->mount_count; i++) {
		struct prepared_mount *m = &p->mounts[i];
		struct stat st;
		m->tree = -1;
		int r = mount_options_parse(&c->mounts[i], &m->options, err);
		if (r < 0)
			return r;
		if (!m->options.bind || m->options.remount)
			continue;
		if (next == count || fstat(m->tree = fds[next++], &st) < 0)
			return rt_fail(err, EPROTO, "the claim lacks a tree");
		m->is_directory = S_ISDIR(st.st_mode);
	}
	return next == count && p->rootfs >= 0 ? 0 : rt_fail(err, EPROTO, "the claim has trees for other mounts");
}

int claim_await(struct init_args *a, struct rt_error *err)
{
	/* For as long as this process is the runtime's. */
	static struct config claimed;
	struct claim_head head;
	int fds[CLAIM_TREES_MAX];
	int r = sync_send(a->sync_fd, SYNC_PARKED, err);
	if (r < 0 || (r = receive_head(a->sync_fd, &head, fds, err)) < 0 || (r = receive_text(a->sync_fd, head.text_len, &claimed, err)) < 0)
		return r;
	a->config = &claimed;
	if (a->park == PARK_ROOT)
		return 0;
	/* Only now: a copy of the host's mounts would keep each of them in use while nobody claims. */
	if (unshare(CLONE_NEWNS) < 0)
		return rt_fail_errno(err, "make a mount namespace");
	return take_trees(&claimed, fds, head.trees, a->prepared, err);
}
