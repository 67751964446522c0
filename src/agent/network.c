/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's interfaces, set up over rtnetlink: all requests in one message, answered one by one. eth0 gets no
 * link-local address, so that the kernel neither looks for duplicates nor for routers; the address that it gets is
 * known to be its alone. Source: rtnetlink(7).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/macros.h"

#define REQUESTS_MAX 8

/** Requests on their way, and what each is for. */
struct requests {
	unsigned int count;
	const char *what[REQUESTS_MAX];
	size_t used;
	_Alignas(NLMSG_ALIGNTO) uint8_t bytes[1024];
};

/** grow() - n zeroed bytes more. The requests below fit by far. */
static void *grow(struct requests *r, size_t n)
{
	uint8_t *at = r->bytes + r->used;

	ASSERT(NLMSG_ALIGN(n) <= sizeof(r->bytes) - r->used);
	memset(at, 0, NLMSG_ALIGN(n));
	r->used += NLMSG_ALIGN(n);
	return at;
}

/** begin() - A request with a fixed part. */
static struct nlmsghdr *begin(struct requests *r, const char *what, uint16_t type, uint16_t flags, const void *fixed,
			      size_t n)
{
	struct nlmsghdr *h;

	ASSERT(r->count < REQUESTS_MAX);
	h = grow(r, NLMSG_HDRLEN);
	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	h->nlmsg_seq = r->count;
	memcpy(grow(r, n), fixed, n);
	r->what[r->count++] = what;
	return h;
}

/** attribute() - Return: the attribute, to be closed by end() when others are nested in it. */
static struct rtattr *attribute(struct requests *r, uint16_t type, const void *data, size_t n)
{
	struct rtattr *a = grow(r, RTA_LENGTH(0));

	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(n);
	if (n)
		memcpy(grow(r, n), data, n);
	return a;
}

/** end_nest() - What was added since belongs to it. */
static void end_nest(const struct requests *r, struct rtattr *a)
{
	a->rta_len = (uint16_t)(r->bytes + r->used - (uint8_t *)a);
}

/** end() - The request is whole. */
static void end(const struct requests *r, struct nlmsghdr *h)
{
	h->nlmsg_len = (uint32_t)(r->bytes + r->used - (uint8_t *)h);
}

/** link_up() - Switch an interface on. */
static void link_up(struct requests *r, const char *what, unsigned int index)
{
	const struct ifinfomsg m = { .ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };

	end(r, begin(r, what, RTM_NEWLINK, 0, &m, sizeof(m)));
}

/** no_link_local() - No address of its own making. */
static void no_link_local(struct requests *r, unsigned int index)
{
	const struct ifinfomsg m = { .ifi_index = (int)index };
	struct nlmsghdr *h = begin(r, "IPv6 of eth0", RTM_NEWLINK, 0, &m, sizeof(m));
	struct rtattr *spec = attribute(r, IFLA_AF_SPEC, NULL, 0), *inet6 = attribute(r, AF_INET6, NULL, 0);

	attribute(r, IFLA_INET6_ADDR_GEN_MODE, &(uint8_t){ IN6_ADDR_GEN_MODE_NONE }, 1);
	end_nest(r, inet6);
	end_nest(r, spec);
	end(r, h);
}

/** address() - One family's address and default route. Return: false: they are no addresses. */
static bool address(struct requests *r, int family, const char *ip, const char *gateway, unsigned int index)
{
	const bool v6 = family == AF_INET6;
	const size_t n = v6 ? 16 : 4;
	const struct ifaddrmsg a = { .ifa_family = (uint8_t)family,
				     .ifa_prefixlen = v6 ? MSG_NET_PREFIX6 : MSG_NET_PREFIX4,
				     .ifa_flags = v6 ? IFA_F_NODAD : 0,
				     .ifa_index = index };
	const struct rtmsg route = { .rtm_family = (uint8_t)family,
				     .rtm_table = RT_TABLE_MAIN,
				     .rtm_protocol = RTPROT_STATIC,
				     .rtm_scope = RT_SCOPE_UNIVERSE,
				     .rtm_type = RTN_UNICAST };
	uint8_t own[16], via[16];
	struct nlmsghdr *h;

	if (!gateway || inet_pton(family, ip, own) != 1 || inet_pton(family, gateway, via) != 1)
		return false;
	h = begin(r, v6 ? "IPv6 address of eth0" : "IPv4 address of eth0", RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE,
		  &a, sizeof(a));
	attribute(r, IFA_LOCAL, own, n);
	attribute(r, IFA_ADDRESS, own, n);
	end(r, h);
	h = begin(r, v6 ? "IPv6 default route" : "IPv4 default route", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE,
		  &route, sizeof(route));
	attribute(r, RTA_GATEWAY, via, n);
	attribute(r, RTA_OIF, &index, sizeof(index));
	end(r, h);
	return true;
}

/** do_requests() - The kernel has answered them all when send() returns. */
static bool do_requests(const struct requests *r, struct failure *f)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	_Alignas(NLMSG_ALIGNTO) uint8_t answer[1024];
	bool ok = fd >= 0 && send(fd, r->bytes, r->used, 0) == (ssize_t)r->used;

	if (!ok)
		fail(f, MSG_FAIL_OTHER, errno, "set up the network");
	for (unsigned int i = 0; ok && i < r->count; i++) {
		ssize_t n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
		const struct nlmsghdr *h = (const void *)answer;
		const struct nlmsgerr *e = NLMSG_DATA(h);

		ok = n >= (ssize_t)NLMSG_LENGTH(sizeof(*e)) && h->nlmsg_type == NLMSG_ERROR && e->error == 0;
		if (!ok)
			fail(f, MSG_FAIL_OTHER, n >= (ssize_t)NLMSG_LENGTH(sizeof(*e)) ? -e->error : EPROTO, "%s",
			     r->what[i]);
	}
	if (fd >= 0)
		close(fd);
	return ok;
}

bool network_up(const struct msg_boot *boot, struct failure *f)
{
	struct requests r = { .count = 0 };
	bool v6 = access("/proc/sys/net/ipv6", F_OK) == 0; /* another kernel than ours may lack it */
	unsigned int index;

	link_up(&r, "lo", 1); /* of every network namespace, LOOPBACK_IFINDEX */
	if (!boot->ip4)
		return do_requests(&r, f);
	index = if_nametoindex("eth0");
	if (!index)
		return fail(f, MSG_FAIL_OTHER, errno, "the guest kernel shows no network card (eth0)");
	if (v6)
		no_link_local(&r, index);
	link_up(&r, "eth0", index);
	if (!address(&r, AF_INET, boot->ip4, boot->gateway4, index) ||
	    (boot->ip6 && v6 && !address(&r, AF_INET6, boot->ip6, boot->gateway6, index)))
		return fail(f, MSG_FAIL_OTHER, 0, "bad boot configuration (network)");
	return do_requests(&r, f);
}
