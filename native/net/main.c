/*
 * berth-net: gives a container its end of a network (docs/contracts.md).
 *
 *   berth-net attach --name NAME --host ADDRESS/LEN --container ADDRESS/LEN [--host6 ... --container6 ...] [--mtu N]
 *   berth-net detach --name NAME
 *
 * `attach` is an OCI createRuntime hook: it reads the container's state on stdin and makes a pair of interfaces, NAME here and eth0 in the network namespace of
 * the container's process, with these addresses, and a default route there by way of here. The pair ends with that namespace. `detach` removes one that is left over.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/json.h"
#include "common/scope.h"
#include "net/netlink.h"

#define STATE_MAX (1u << 20)
#define MTU_MIN 576
#define MTU_DEFAULT 1500
#define INSIDE "eth0"

struct ends {
	const char *name;
	struct address host[2], container[2]; /* family 0: none */
	uint32_t mtu;
};

static int parse_address(const char *option, const char *text, int family, struct address *out, struct rt_error *err)
{
	char copy[64], *end;
	snprintf(copy, sizeof copy, "%s", text);
	char *slash = strchr(copy, '/');
	long max = family == AF_INET ? 32 : 128;
	if (slash) {
		*slash = '\0';
		out->prefix_len = (int)strtol(slash + 1, &end, 10);
	}
	if (!slash || *end || !slash[1] || out->prefix_len < 1 || out->prefix_len > max || inet_pton(family, copy, out->bytes) != 1)
		return rt_fail(err, EINVAL, "%s wants ADDRESS/LENGTH, not '%s'", option, text);
	out->family = family;
	return 0;
}

static int parse_options(int argc, char **argv, struct ends *e, struct rt_error *err)
{
	const struct {
		const char *name;
		struct address *to;
		int family;
	} addresses[] = {
		{ "--host", &e->host[0], AF_INET }, { "--container", &e->container[0], AF_INET },
		{ "--host6", &e->host[1], AF_INET6 }, { "--container6", &e->container[1], AF_INET6 },
	};
	e->mtu = MTU_DEFAULT;
	for (int i = 2; i < argc; i += 2) {
		if (i + 1 == argc)
			return rt_fail(err, EINVAL, "%s wants a value", argv[i]);
		size_t n = 0;
		while (n < 4 && strcmp(addresses[n].name, argv[i]) != 0)
			n++;
		if (n < 4) {
			int r = parse_address(argv[i], argv[i + 1], addresses[n].family, addresses[n].to, err);
			if (r < 0)
				return r;
		} else if (strcmp(argv[i], "--name") == 0) {
			e->name = argv[i + 1];
		} else if (strcmp(argv[i], "--mtu") == 0) {
			e->mtu = (uint32_t)strtoul(argv[i + 1], NULL, 10);
		} else {
			return rt_fail(err, EINVAL, "unknown option '%s'", argv[i]);
		}
	}
	if (!e->name || !*e->name || strlen(e->name) >= IFNAMSIZ)
		return rt_fail(err, EINVAL, "--name wants an interface's name of at most %d bytes", IFNAMSIZ - 1);
	if (e->mtu < MTU_MIN || e->mtu > 65535)
		return rt_fail(err, EINVAL, "--mtu wants a number from %d to 65535", MTU_MIN);
	return 0;
}

/* The network namespace of the process that the state on stdin names. */
static int open_namespace(int *out, struct rt_error *err)
{
	cleanup_free char *text = NULL;
	cleanup_json struct json_doc *doc = NULL;
	size_t len;
	int r = fs_read_fd(0, "the state", STATE_MAX, &text, &len, err);
	if (r < 0 || (r = json_parse(text, len, &doc, err)) < 0)
		return r;
	int64_t pid = 0;
	if (!json_i64(json_get(json_root(doc), "pid"), &pid) || pid < 1)
		return rt_fail(err, EINVAL, "the state on stdin names no process");
	char path[64];
	snprintf(path, sizeof path, "/proc/%lld/ns/net", (long long)pid);
	*out = open(path, O_RDONLY | O_CLOEXEC);
	return *out < 0 ? rt_fail_errno(err, "opening %s", path) : 0;
}

static int add_pair(int fd, const struct ends *e, int ns, struct rt_error *err)
{
	int r = netlink_add_veth(fd, e->name, INSIDE, ns, e->mtu, err);
	if (r != -EEXIST)
		return r;
	/* The kernel may still be taking down the one of an earlier container. */
	r = netlink_delete_link(fd, e->name, err);
	if (r < 0 && r != -ENODEV)
		return r;
	r = netlink_add_veth(fd, e->name, INSIDE, ns, e->mtu, err);
	return r < 0 ? rt_fail(err, -r, "making the interface %s", e->name) : 0;
}

static int configure(int fd, const char *name, const struct address addresses[2], const struct address gateways[2], struct rt_error *err)
{
	int r = 0;
	for (int i = 0; i < 2 && r == 0; i++) {
		if (addresses[i].family)
			r = netlink_add_address(fd, name, &addresses[i], err);
	}
	if (r == 0)
		r = netlink_set_up(fd, name, err);
	for (int i = 0; gateways && i < 2 && r == 0; i++) {
		if (gateways[i].family)
			r = netlink_add_default_route(fd, name, &gateways[i], err);
	}
	return r;
}

static int inside(const struct ends *e, int ns, struct rt_error *err)
{
	cleanup_fd int fd = -1;
	if (setns(ns, CLONE_NEWNET) < 0)
		return rt_fail_errno(err, "entering the container's network");
	int r = netlink_open(&fd, err);
	if (r < 0 || (r = netlink_set_up(fd, "lo", err)) < 0)
		return r;
	return configure(fd, INSIDE, e->container, e->host, err);
}

static int attach(const struct ends *e, struct rt_error *err)
{
	cleanup_fd int ns = -1, fd = -1;
	int r = open_namespace(&ns, err);
	if (r < 0 || (r = netlink_open(&fd, err)) < 0 || (r = add_pair(fd, e, ns, err)) < 0)
		return r;
	if ((r = configure(fd, e->name, e->host, NULL, err)) < 0 || (r = inside(e, ns, err)) < 0) {
		struct rt_error ignored = { 0 };
		/* Without its container's end set up it is of no use; the first failure is the one to tell. */
		if (netlink_delete_link(fd, e->name, &ignored) < 0)
			rt_prefix(err, "leaving %s", e->name);
	}
	return r;
}

static int detach(const struct ends *e, struct rt_error *err)
{
	cleanup_fd int fd = -1;
	int r = netlink_open(&fd, err);
	if (r == 0)
		r = netlink_delete_link(fd, e->name, err);
	return r == -ENODEV ? 0 : r;
}

int main(int argc, char **argv)
{
	struct rt_error err = { 0 };
	struct ends e = { 0 };
	const char *verb = argc > 1 ? argv[1] : "";
	bool attaching = strcmp(verb, "attach") == 0;
	int r;
	if (!attaching && strcmp(verb, "detach") != 0)
		r = rt_fail(&err, EINVAL, "usage: berth-net attach|detach --name NAME ...");
	else if ((r = parse_options(argc, argv, &e, &err)) == 0)
		r = attaching ? attach(&e, &err) : detach(&e, &err);
	if (r == 0)
		return 0;
	char message[RT_ERROR_TEXT + 64];
	rt_error_message(&err, message, sizeof message);
	dprintf(2, "berth-net: %s\n", message);
	return 1;
}
