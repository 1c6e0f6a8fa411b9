/*
 * The few words of rtnetlink(7) that giving a container a network takes. Each call is one request on a socket of its own, answered by the kernel before
 * it returns; all are about the network namespace in which the socket was opened.
 */
#ifndef BERTH_NET_NETLINK_H
#define BERTH_NET_NETLINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

/* An IPv4 (family AF_INET) or IPv6 address. */
struct address {
	int family;
	uint8_t bytes[16];
	int prefix_len;
};

/* Opens a socket in the calling thread's network namespace. */
must_check int netlink_open(int *out, struct rt_error *err);

/* Makes a pair of interfaces: `name` here, `peer` in the namespace that peer_ns is open on, both down and without addresses of the kernel's own. EEXIST as errno when `name` is taken. */
must_check int netlink_add_veth(int fd, const char *name, const char *peer, int peer_ns, uint32_t mtu, struct rt_error *err);

/* Removes an interface, and with it its peer. ENODEV when there is none. */
must_check int netlink_delete_link(int fd, const char *name, struct rt_error *err);

must_check int netlink_set_up(int fd, const char *name, struct rt_error *err);

/* Gives an address, at once usable: the link has two ends, so nobody else can have it. */
must_check int netlink_add_address(int fd, const char *name, const struct address *a, struct rt_error *err);

/* The default route of the gateway's family. */
must_check int netlink_add_default_route(int fd, const char *name, const struct address *gateway, struct rt_error *err);

#endif
