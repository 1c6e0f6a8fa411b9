#include "net/netlink.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/scope.h"

#define REQUEST_MAX 1024
#define ADDR_GEN_NONE 1 /* IN6_ADDR_GEN_MODE_NONE */

struct request {
	union {
		struct nlmsghdr head;
		char bytes[REQUEST_MAX];
	};
};

/* Starts a message with a fixed part; its attributes follow. Every message is far below the buffer's size. */
static void *begin(struct request *q, uint16_t type, uint16_t flags, size_t fixed)
{
	memset(q, 0, sizeof *q);
	q->head.nlmsg_type = type;
	q->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	q->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(fixed);
	return NLMSG_DATA(&q->head);
}

static struct rtattr *put(struct request *q, uint16_t type, const void *data, size_t len)
{
	struct rtattr *a = (struct rtattr *)(q->bytes + NLMSG_ALIGN(q->head.nlmsg_len));
	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(a), data, len);
	q->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(q->head.nlmsg_len) + RTA_ALIGN(a->rta_len));
	return a;
}

static void put_text(struct request *q, uint16_t type, const char *text)
{
	put(q, type, text, strlen(text) + 1);
}

static void end(struct request *q, struct rtattr *nest)
{
	nest->rta_len = (uint16_t)(q->bytes + q->head.nlmsg_len - (char *)nest);
}

/* Sends the request and reads its acknowledgement. Returns 0 or the kernel's -errno. */
static int talk(int fd, struct request *q)
{
	char answer[4096];
	if (retry_eintr(send(fd, q, q->head.nlmsg_len, 0)) < 0)
		return -errno;
	ssize_t n = retry_eintr(recv(fd, answer, sizeof answer, 0));
	if (n < 0)
		return -errno;
	const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
	if (!NLMSG_OK(h, (size_t)n) || h->nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
}

int netlink_open(int *out, struct rt_error *err)
{
	*out = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	return *out < 0 ? rt_fail_errno(err, "opening a netlink socket") : 0;
}

static int send_veth(int fd, const char *name, const char *peer, int peer_ns, uint32_t mtu)
{
	struct request q;
	uint32_t ns = (uint32_t)peer_ns;
	begin(&q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	put_text(&q, IFLA_IFNAME, name);
	put(&q, IFLA_MTU, &mtu, sizeof mtu);
	struct rtattr *kind = put(&q, IFLA_LINKINFO, NULL, 0);
	put(&q, IFLA_INFO_KIND, "veth", 4);
	struct rtattr *info = put(&q, IFLA_INFO_DATA, NULL, 0);
	struct ifinfomsg other = { 0 };
	struct rtattr *end_of_peer = put(&q, VETH_INFO_PEER, &other, sizeof other);
	put_text(&q, IFLA_IFNAME, peer);
	put(&q, IFLA_MTU, &mtu, sizeof mtu);
	put(&q, IFLA_NET_NS_FD, &ns, sizeof ns);
	end(&q, end_of_peer);
	end(&q, info);
	end(&q, kind);
	return talk(fd, &q);
}

int netlink_add_veth(int fd, const char *name, const char *peer, int peer_ns, uint32_t mtu, struct rt_error *err)
{
	int r = send_veth(fd, name, peer, peer_ns, mtu);
	if (r == -EEXIST)
		return r;
	return r < 0 ? rt_fail(err, r, "making the interface %s", name) : 0;
}

static int index_of(const char *name, struct rt_error *err)
{
	unsigned index = if_nametoindex(name);
	return index ? (int)index : rt_fail_errno(err, "finding the interface %s", name);
}

int netlink_delete_link(int fd, const char *name, struct rt_error *err)
{
	struct request q;
	begin(&q, RTM_DELLINK, 0, sizeof(struct ifinfomsg));
	put_text(&q, IFLA_IFNAME, name);
	int r = talk(fd, &q);
	if (r == -ENODEV)
		return r;
	return r < 0 ? rt_fail(err, r, "removing the interface %s", name) : 0;
}

/* No link-local address of the kernel's own: it would answer for the host on a link that is a container's. */
static void put_quiet(struct request *q)
{
	uint8_t none = ADDR_GEN_NONE;
	struct rtattr *families = put(q, IFLA_AF_SPEC, NULL, 0);
	struct rtattr *inet6 = put(q, AF_INET6, NULL, 0);
	put(q, IFLA_INET6_ADDR_GEN_MODE, &none, sizeof none);
	end(q, inet6);
	end(q, families);
}

static int send_flags(int fd, int index, unsigned flags, bool quiet)
{
	struct request q;
	struct ifinfomsg *i = begin(&q, RTM_NEWLINK, 0, sizeof *i);
	i->ifi_index = index;
	i->ifi_flags = i->ifi_change = flags;
	if (quiet)
		put_quiet(&q);
	return talk(fd, &q);
}

int netlink_set_up(int fd, const char *name, struct rt_error *err)
{
	int index = index_of(name, err);
	if (index < 0)
		return index;
	int r = send_flags(fd, index, IFF_UP, true);
	/* How a kernel without IPv6 answers. */
	if (r == -EAFNOSUPPORT)
		r = send_flags(fd, index, IFF_UP, false);
	return r < 0 ? rt_fail(err, r, "bringing the interface %s up", name) : 0;
}

static size_t size_of(const struct address *a)
{
	return a->family == AF_INET ? 4 : 16;
}

int netlink_add_address(int fd, const char *name, const struct address *a, struct rt_error *err)
{
	struct request q;
	int index = index_of(name, err);
	if (index < 0)
		return index;
	struct ifaddrmsg *i = begin(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof *i);
	i->ifa_family = (uint8_t)a->family;
	i->ifa_prefixlen = (uint8_t)a->prefix_len;
	i->ifa_index = (uint32_t)index;
	if (a->family == AF_INET6)
		i->ifa_flags = IFA_F_NODAD;
	put(&q, IFA_LOCAL, a->bytes, size_of(a));
	put(&q, IFA_ADDRESS, a->bytes, size_of(a));
	int r = talk(fd, &q);
	return r < 0 ? rt_fail(err, r, "giving the interface %s an address", name) : 0;
}

int netlink_add_default_route(int fd, const char *name, const struct address *gateway, struct rt_error *err)
{
	struct request q;
	int index = index_of(name, err);
	if (index < 0)
		return index;
	struct rtmsg *m = begin(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof *m);
	m->rtm_family = (uint8_t)gateway->family;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_scope = RT_SCOPE_UNIVERSE;
	m->rtm_type = RTN_UNICAST;
	put(&q, RTA_GATEWAY, gateway->bytes, size_of(gateway));
	put(&q, RTA_OIF, &index, sizeof index);
	int r = talk(fd, &q);
	return r < 0 ? rt_fail(err, r, "adding a default route by %s", name) : 0;
}
