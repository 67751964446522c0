/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of a sandbox that is about to start: its addresses, which its name decides, and everything that its
 * gateway may use of the host, opened here so that what is refused is said before anything starts.
 *
 * Addresses (contract 4.1): a slot of 16 bits from the name. No path leads from one sandbox to another, so two with the
 * same slot do not meet.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/host_network.h"
#include "engine/lifecycle.h"
#include "engine/run_plan.h"

#define FRAME_BUFFER_BYTES (4 << 20) /* each way; the kernel gives what it allows */
#define LISTEN_BACKLOG 256
#define RULES_BYTES_MAX (512u << 10)
#define CONTROL_BYTES (GATEWAY_CONFIG_MAX)

/** slot_of() - 16 bits from a name (FNV-1a). */
static uint16_t slot_of(const char *name)
{
	uint32_t h = 0x811c9dc5u;

	for (const char *p = name; *p; p++)
		h = (h ^ (unsigned char)*p) * 0x01000193u;
	return (uint16_t)(h ^ h >> 16);
}

/** choose_addresses() - Of both ends. */
static void choose_addresses(struct gateway_config *c, uint16_t slot)
{
	const uint32_t base = (172u << 24 | 16u << 16) + 4u * slot;
	const uint8_t hi = (uint8_t)(slot >> 8), lo = (uint8_t)slot;
	const uint8_t mac[6] = { 0x02, 0x6d, 0x73, hi, lo, 0x01 };
	const struct ip six = { { 0xfd, 0x42, 0x6d, 0x73, 0x00, 0x62, hi, lo, [15] = 1 } };
	const uint8_t four[4] = { (uint8_t)(base >> 24), (uint8_t)(base >> 16), (uint8_t)(base >> 8),
				  (uint8_t)(base + 1) };

	memcpy(c->gateway_mac, mac, sizeof(mac));
	memcpy(c->guest_mac, mac, sizeof(mac));
	c->guest_mac[5]++;
	c->gateway4 = c->guest4 = ip_v4(four);
	c->guest4.b[15]++;
	c->gateway6 = c->guest6 = six;
	c->guest6.b[15]++;
}

/** choose_nameservers() - The user's, else the host's. */
static int choose_nameservers(const struct net_spec *net, struct gateway_config *c, struct error *err)
{
	struct buf text = BUF_INIT(RESOLV_BYTES_MAX);

	for (size_t i = 0; i < net->nameservers.count && i < GATEWAY_NAMESERVERS_MAX; i++) {
		struct net_server server;

		if (net_server_parse(net->nameservers.item[i], &server, err) < 0)
			return -(int)err->code;
		if (server.host[0]) {
			err_set(err, ERR_UNSUPPORTED, 0, "--dns-nameserver %.100s: names are not looked up",
				server.host);
			return err_hint(err, "give its address");
		}
		c->nameservers[c->nameserver_count++] = (struct endpoint){ .ip = server.ip, .port = server.port };
	}
	if (c->nameserver_count)
		return 0;
	/* Without the file, or one that is too large, it is the default of resolv.conf(5). */
	if (file_read(AT_FDCWD, "/etc/resolv.conf", RESOLV_BYTES_MAX, &text, NULL) < 0)
		text.len = 0;
	c->nameserver_count =
		resolv_servers((const char *)text.data, text.len, c->nameservers, GATEWAY_NAMESERVERS_MAX);
	buf_free(&text);
	return 0;
}

/** give() - One more descriptor for the gateway; -1 is passed over. */
static void give(struct run_plan *plan, enum gateway_what what, uint32_t index, int fd)
{
	struct sandbox_network *n = &plan->spec.network;

	if (fd >= 0)
		n->given[n->given_count++] = (struct sandbox_given){ .what = what, .index = index, .fd = fd };
}

/** refuse_port() - Why a port cannot be had. */
static int refuse_port(const struct net_port *p, int why, struct error *err)
{
	char text[NET_PORT_TEXT_MAX], holder[96];

	net_port_format(p, text);
	if (why == EADDRINUSE && port_holder(p->host_port, p->udp, holder, sizeof(holder))) {
		err_set(err, ERR_EXISTS, 0, "port %u is taken by %s (-p %s)", p->host_port, holder, text);
		return err_hint(err, "end it, or publish another port of the host");
	}
	if (why == EADDRINUSE) {
		err_set(err, ERR_EXISTS, 0, "port %u is taken (-p %s)", p->host_port, text);
		return err_hint(err, "publish another port of the host");
	}
	err_set(err, err_from_errno(why), why, "port %u cannot be published (-p %s)", p->host_port, text);
	if (why == EACCES)
		return err_hint(err, "ports below 1024 are root's: publish a higher one");
	return -(int)err->code;
}

/** listen_on() - The host's end of a published port. Return: owned fd, or a negative code. */
static int listen_on(const struct net_port *p, struct error *err)
{
	const bool v4 = ip_is_v4(&p->bind);
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(p->host_port) };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(p->host_port) };
	const struct sockaddr *at = v4 ? (const struct sockaddr *)&four : (const struct sockaddr *)&six;
	const int type = (p->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, on = 1;
	_cleanup_fd_ int fd = socket(v4 ? AF_INET : AF_INET6, type, 0);

	memcpy(&four.sin_addr, p->bind.b + 12, 4);
	memcpy(&six.sin6_addr, p->bind.b, 16);
	if (fd < 0)
		return refuse_port(p, errno, err);
	if (!p->udp)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (!v4)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, at, v4 ? sizeof(four) : sizeof(six)) < 0 || (!p->udp && listen(fd, LISTEN_BACKLOG) < 0))
		return refuse_port(p, errno, err);
	return TAKE_FD(fd);
}

/** open_ports() - All that is published. */
static int open_ports(const struct net_spec *net, struct run_plan *plan, struct gateway_config *c, struct error *err)
{
	if (net->port_count > GATEWAY_PORTS_MAX)
		return err_set(err, ERR_LIMIT, 0, "more than %d published ports", GATEWAY_PORTS_MAX);
	for (size_t i = 0; i < net->port_count; i++) {
		int fd = listen_on(&net->ports[i], err);

		if (fd < 0)
			return fd;
		give(plan, GATEWAY_LISTEN, (uint32_t)i, fd);
		c->ports[c->port_count++] =
			(struct gateway_port){ .udp = net->ports[i].udp, .guest_port = net->ports[i].guest_port };
	}
	return 0;
}

/** open_echo() - A ping socket, else a raw one. Return: owned fd, or -1: the host permits neither. */
static int open_echo(int family, int protocol)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

	return fd >= 0 ? fd : socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
}

/** open_netlink() - Tells of the host's addresses. Return: owned fd, or -1. */
static int open_netlink(void)
{
	const struct sockaddr_nl at = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR };
	_cleanup_fd_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	return fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof(at)) == 0 ? TAKE_FD(fd) : -1;
}

/** grow_buffer() - As root beyond what others may have. */
static void grow_buffer(int fd)
{
	const int bytes = FRAME_BUFFER_BYTES;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

/** open_frames() - Between the network card and the gateway. */
static int open_frames(struct run_plan *plan, struct error *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_set(err, ERR_SYSTEM, errno, "socketpair");
	plan->spec.machine.net_fd = pair[0];
	give(plan, GATEWAY_FRAMES, 0, pair[1]);
	grow_buffer(pair[0]);
	grow_buffer(pair[1]);
	return 0;
}

/** write_config() - The gateway's, as a memfd. */
static int write_config(const struct net_spec *net, struct run_plan *plan, struct gateway_config *c, struct error *err)
{
	struct buf rules = BUF_INIT(RULES_BYTES_MAX), map = BUF_INIT(CONTROL_BYTES);
	int rc = 0, fd;

	for (size_t i = 0; i < net->rules.count; i++)
		buf_printf(&rules, "%s%s", i ? "," : "", net->rules.item[i]);
	c->rules = buf_cstr(&rules);
	c->egress_default = net->allow_egress ? "allow" : "deny";
	c->ingress_default = net->allow_ingress ? "allow" : "deny";
	c->strict = net->strict;
	c->multi_tenant = net->multi_tenant;
	c->rebind_protection = !net->no_rebind_protection;
	c->dns_timeout_ms = net->dns_timeout_ms;
	c->max_connections = net->max_connections;
	c->mtu = net->mtu;
	c->rates = net->rates;
	c->blocked = (const char **)net->block_domains.item;
	c->blocked_count = net->block_domains.count;
	c->suffixes = (const char **)net->block_suffixes.item;
	c->suffix_count = net->block_suffixes.count;
	fd = fd_memfd("msb-network", 0, false);
	plan->spec.network.config_fd = fd;
	if (!c->rules || !gateway_config_encode(&map, c))
		rc = err_set(err, ERR_LIMIT, 0, "the network's rules are too large");
	else if (fd < 0 || fd_write_full(fd, map.data, map.len) < 0)
		rc = err_set(err, ERR_SYSTEM, errno, "memfd for the network");
	buf_free(&rules);
	buf_free(&map);
	return rc;
}

/** tell_guest() - What machine and agent need to know. */
static void tell_guest(struct run_plan *plan, const struct gateway_config *c)
{
	struct monitor_config *m = &plan->spec.machine;
	struct msg_boot *boot = &plan->spec.boot;

	memcpy(m->mac, c->guest_mac, sizeof(m->mac));
	m->mtu = (uint16_t)c->mtu;
	boot->ip4 = ip_format(&c->guest4, plan->ip[0]);
	boot->gateway4 = ip_format(&c->gateway4, plan->ip[1]);
	if (c->have6) {
		boot->ip6 = ip_format(&c->guest6, plan->ip[2]);
		boot->gateway6 = ip_format(&c->gateway6, plan->ip[3]);
	}
}

/** open_program() - The gateway's. */
static int open_program(struct run_plan *plan, struct error *err)
{
	int fd = plan->paths.gateway[0] ? open(plan->paths.gateway, O_PATH | O_CLOEXEC) : -1;

	if (fd < 0) {
		err_set(err, ERR_NOT_FOUND, 0, "msb-gateway is missing beside msb");
		return err_hint(err, "copy both of one build, or run scripts/setup.sh again; or use --no-network");
	}
	plan->spec.network.program_fd = fd;
	return 0;
}

/** plan_open() - See network_plan(). */
static int plan_open(const struct net_spec *net, struct run_plan *plan, struct error *err)
{
	struct gateway_config c = { .have4 = true, .have6 = host_has_ipv6() };
	int rc;

	choose_addresses(&c, slot_of(plan->name));
	rc = open_program(plan, err);
	if (rc == 0)
		rc = choose_nameservers(net, &c, err);
	if (rc == 0)
		rc = open_ports(net, plan, &c, err);
	if (rc == 0)
		rc = open_frames(plan, err);
	if (rc == 0)
		rc = write_config(net, plan, &c, err);
	if (rc == 0 && net->pcap) {
		int fd = open(net->pcap, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);

		if (fd < 0)
			return err_set(err, err_from_errno(errno), errno, "--net-pcap %.200s", net->pcap);
		give(plan, GATEWAY_PCAP, 0, fd);
	}
	if (rc < 0)
		return rc;
	give(plan, GATEWAY_ICMP4, 0, open_echo(AF_INET, IPPROTO_ICMP));
	give(plan, GATEWAY_ICMP6, 0, open_echo(AF_INET6, IPPROTO_ICMPV6));
	give(plan, GATEWAY_NETLINK, 0, open_netlink());
	tell_guest(plan, &c);
	plan->spec.network.on = true;
	return 0;
}

int network_plan(const struct run_spec *spec, struct run_plan *plan, struct error *err)
{
	struct net_spec ours;
	int rc;

	if (spec->net)
		return spec->net->none ? 0 : plan_open(spec->net, plan, err);
	if (net_spec_default(&ours))
		rc = plan_open(&ours, plan, err);
	else
		rc = err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	net_spec_free(&ours);
	return rc;
}

void network_release(struct run_plan *plan)
{
	struct sandbox_network *n = &plan->spec.network;

	fd_close(&plan->spec.machine.net_fd);
	fd_close(&n->program_fd);
	fd_close(&n->config_fd);
	for (size_t i = 0; i < n->given_count; i++)
		fd_close(&n->given[i].fd);
}

void engine_gateway(const char *name, struct ip addresses[2])
{
	struct gateway_config c = { 0 };

	choose_addresses(&c, slot_of(name));
	addresses[0] = c.gateway4;
	addresses[1] = c.gateway6;
}
