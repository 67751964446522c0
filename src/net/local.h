/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The addresses of this host's interfaces, by a netlink socket that was given: all at the start, and again whenever the
 * kernel says that one changed. Source: rtnetlink(7).
 */
#ifndef MSB_NET_LOCAL_H
#define MSB_NET_LOCAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "net/ip.h"

#define LOCAL_MAX 4096 /* addresses; of a host with more, the rest is taken for somebody else's: said once in the log \
			*/

struct local {
	int fd;	    /* -1: nothing is known */
	bool stale; /* something changed since the last dump was asked for */
	bool dumping;
	size_t count, fresh_count; /* known; of the dump under way */
	struct ip *known, *fresh;  /* LOCAL_MAX each */
};

/** local_open() - Ask and wait for the answer. @fd: bound to the address groups; taken; -1: none */
int local_open(struct local *l, int fd, struct error *err);
void local_close(struct local *l);
/** local_read() - Read what the kernel says, without waiting. */
void local_read(struct local *l);
bool local_has(const struct local *l, const struct ip *ip);

#endif
