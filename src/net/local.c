/* SPDX-License-Identifier: Apache-2.0 */
#include "net/local.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"

#define ANSWER_MS 5000

/** ask() - For all addresses, unless an answer is under way. */
static void ask(struct local *l)
{
	struct {
		struct nlmsghdr head;
		struct ifaddrmsg body;
	} m = {
		.head = { .nlmsg_len = sizeof(m),
			  .nlmsg_type = RTM_GETADDR,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			  .nlmsg_seq = 1 },
	};

	if (l->dumping)
		return;
	l->stale = false;
	l->fresh_count = 0;
	l->dumping = send(l->fd, &m, sizeof(m), MSG_NOSIGNAL) == (ssize_t)sizeof(m);
}

/** add() - One RTM_NEWADDR of a dump. IFA_LOCAL is ours on a point-to-point link, where IFA_ADDRESS is the peer's. */
static void add(struct local *l, const struct nlmsghdr *h)
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	const uint8_t *address = NULL, *ours = NULL;
	size_t want, left;
	const struct rtattr *a;

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
		return;
	want = m->ifa_family == AF_INET ? 4 : 16;
	left = h->nlmsg_len - NLMSG_LENGTH(sizeof(*m));
	for (a = IFA_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (RTA_PAYLOAD(a) != want)
			continue;
		if (a->rta_type == IFA_LOCAL)
			ours = RTA_DATA(a);
		if (a->rta_type == IFA_ADDRESS)
			address = RTA_DATA(a);
	}
	ours = ours ? ours : address;
	if (!ours)
		return;
	if (l->fresh_count == LOCAL_MAX) {
		log_warn(LOG_NET, "this host has more than %d addresses: some are not known as its own", LOCAL_MAX);
		return;
	}
	if (want == 4)
		l->fresh[l->fresh_count++] = ip_v4(ours);
	else
		memcpy(l->fresh[l->fresh_count++].b, ours, 16);
}

/** dump_ends() - What was collected is what is known. */
static void dump_ends(struct local *l)
{
	struct ip *was = l->known;

	l->dumping = false;
	l->known = l->fresh;
	l->count = l->fresh_count;
	l->fresh = was;
}

/** message() - A datagram of the kernel's: parts of a dump, or news. */
static void message(struct local *l, const void *data, size_t n)
{
	for (const struct nlmsghdr *h = data; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
		bool ours = l->dumping && h->nlmsg_seq == 1;

		if (h->nlmsg_flags & NLM_F_DUMP_INTR && ours)
			l->stale = true;
		if (h->nlmsg_type == NLMSG_DONE && ours)
			dump_ends(l);
		else if (h->nlmsg_type == NLMSG_ERROR && ours)
			l->dumping = false;
		else if (h->nlmsg_type == RTM_NEWADDR && ours)
			add(l, h);
		else if (h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR)
			l->stale = true;
	}
}

void local_read(struct local *l)
{
	static _Alignas(16) char data[32768];

	if (l->fd < 0)
		return;
	for (;;) {
		struct sockaddr_nl from = { 0 };
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(l->fd, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&from, &len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS) {
			l->stale = true; /* news were lost, or the rest of a dump */
			l->dumping = false;
			continue;
		}
		if (n <= 0)
			break;
		if (from.nl_pid == 0) /* others may write to us, the kernel alone is believed */
			message(l, data, (size_t)n);
	}
	if (l->stale)
		ask(l);
}

int local_open(struct local *l, int fd, struct error *err)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	l->fd = fd;
	if (fd < 0)
		return 0;
	l->known = calloc(LOCAL_MAX, sizeof(*l->known));
	l->fresh = calloc(LOCAL_MAX, sizeof(*l->fresh));
	if (!l->known || !l->fresh)
		return err_set(err, ERR_NO_MEMORY, 0, "addresses of this host: out of memory");
	ask(l);
	if (!l->dumping)
		return err_set(err, ERR_SYSTEM, errno, "addresses of this host");
	while (l->dumping) {
		if (poll(&p, 1, ANSWER_MS) == 0)
			return err_set(err, ERR_TIMEOUT, 0, "addresses of this host: no answer of the kernel");
		local_read(l);
	}
	return 0;
}

void local_close(struct local *l)
{
	fd_close(&l->fd);
	free(l->known);
	free(l->fresh);
	*l = (struct local){ .fd = -1 };
}

bool local_has(const struct local *l, const struct ip *ip)
{
	for (size_t i = 0; i < l->count; i++)
		if (ip_equal(&l->known[i], ip))
			return true;
	return false;
}
