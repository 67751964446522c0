/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway-tap: starts msb-gateway as a supervisor does, with a TAP in place of a sandbox, so that the Linux stack of a
 * network namespace is the guest. The guest is 172.16.0.2/30 and fd42:6d73:62:1::2/64, MAC 02:6d:73:00:01:02.
 *
 *   gateway-tap [--gateway PROGRAM] --tap NAME [--tap-net FILE] [--user UID] [OPTION...]
 *
 * FILE: the network namespace in which the TAP is made; the gateway stays where this program is, and all but the TAP is
 * made by the user UID. Says "ready", answers "count" on
 * its input with the counters and "activity" with how often it was told of any; ends with the input.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <getopt.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "base/num.h"
#include "net/address.h"
#include "net/config.h"
#include "net/control.h"
#include "relay.h"

static const char *program = "build/msb-gateway", *tap_name, *tap_net;
static uid_t user;
static int pcap = -1;
static struct gateway_config config;
static struct endpoint publish[GATEWAY_PORTS_MAX];
static struct relay_options relay;
static int control;
static unsigned int activity;

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "gateway-tap: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t number(const char *s, uint64_t max)
{
	uint64_t n;

	if (!num_parse_u64(s, max, &n)) {
		fprintf(stderr, "gateway-tap: %s is no number up to %llu\n", s, (unsigned long long)max);
		exit(2);
	}
	return n;
}

/** endpoint() - ADDRESS PORT in "1.2.3.4:53" or "[::1]:53". */
static struct endpoint endpoint(char *s)
{
	struct endpoint e;
	char *colon = strrchr(s, ':'), *address = s;

	if (!colon) {
		fprintf(stderr, "gateway-tap: %s has no port\n", s);
		exit(2);
	}
	*colon = '\0';
	if (*s == '[') {
		address = s + 1;
		colon[-1] = '\0';
	}
	if (!ip_parse(address, &e.ip)) {
		fprintf(stderr, "gateway-tap: %s is no address\n", address);
		exit(2);
	}
	e.port = (uint16_t)number(colon + 1, 65535);
	return e;
}

/** add_port() - udp/127.0.0.1:8080/80 */
static void add_port(char *s)
{
	char *first = strchr(s, '/'), *last = strrchr(s, '/');
	size_t i = config.port_count;

	if (!first || first == last || i == GATEWAY_PORTS_MAX)
		fail("--publish");
	*first = *last = '\0';
	config.ports[i].udp = strcmp(s, "udp") == 0;
	config.ports[i].guest_port = (uint16_t)number(last + 1, 65535);
	publish[i] = endpoint(first + 1);
	config.port_count++;
}

/** add_name() - One more blocked name. */
static void add_name(const char ***names, size_t *count, const char *name)
{
	static const char *all[2][8];

	*names = all[names == &config.suffixes];
	if (*count == ARRAY_LEN(all[0]))
		fail("--block");
	(*names)[(*count)++] = name;
}

/** add_rate() - egress/bytes/1000000: in a second. */
static void add_rate(char *s)
{
	char *kind = strchr(s, '/'), *amount = kind ? strchr(kind + 1, '/') : NULL;
	enum rate_direction d = *s == 'e' ? RATE_EGRESS : RATE_INGRESS;

	if (!amount)
		fail("--rate");
	config.rates.of[d][kind[1] == 'b' ? RATE_BYTES : RATE_PACKETS] =
		(struct rate){ .amount = number(amount + 1, RATE_AMOUNT_MAX), .interval_ms = 1000 };
}

static void defaults(void)
{
	static const uint8_t guest_mac[6] = { 2, 0x6d, 0x73, 0, 1, 2 }, gateway_mac[6] = { 2, 0x6d, 0x73, 0, 1, 1 };

	memcpy(config.guest_mac, guest_mac, 6);
	memcpy(config.gateway_mac, gateway_mac, 6);
	ip_parse("172.16.0.2", &config.guest4);
	ip_parse("172.16.0.1", &config.gateway4);
	ip_parse("fd42:6d73:62:1::2", &config.guest6);
	ip_parse("fd42:6d73:62:1::1", &config.gateway6);
	config.have4 = config.have6 = true;
	config.mtu = 1500;
	config.max_connections = 256;
	config.rules = "allow@dns,allow@public";
	config.egress_default = "deny";
	config.ingress_default = "allow";
	config.rebind_protection = true;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "gateway", 1, NULL, 'g' },
		{ "tap", 1, NULL, 't' },
		{ "tap-net", 1, NULL, 'n' },
		{ "user", 1, NULL, 'u' },
		{ "rules", 1, NULL, 'r' },
		{ "egress", 1, NULL, 'e' },
		{ "ingress", 1, NULL, 'i' },
		{ "nameserver", 1, NULL, 's' },
		{ "publish", 1, NULL, 'p' },
		{ "mtu", 1, NULL, 'm' },
		{ "connections", 1, NULL, 'c' },
		{ "strict", 0, NULL, 'S' },
		{ "no-rebind", 0, NULL, 'R' },
		{ "dns-timeout", 1, NULL, 'T' },
		{ "relay", 1, NULL, 'y' },
		{ "pcap", 1, NULL, 'P' },
		{ "block", 1, NULL, 'b' },
		{ "block-suffix", 1, NULL, 'B' },
		{ "tenants", 0, NULL, 'M' },
		{ "rate", 1, NULL, 'a' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'g':
			program = optarg;
			break;
		case 't':
			tap_name = optarg;
			break;
		case 'n':
			tap_net = optarg;
			break;
		case 'u':
			user = (uid_t)number(optarg, 65533);
			break;
		case 'r':
			config.rules = optarg;
			break;
		case 'e':
			config.egress_default = optarg;
			break;
		case 'i':
			config.ingress_default = optarg;
			break;
		case 's':
			if (config.nameserver_count == GATEWAY_NAMESERVERS_MAX)
				exit(2);
			config.nameservers[config.nameserver_count++] = endpoint(optarg);
			break;
		case 'p':
			add_port(optarg);
			break;
		case 'm':
			config.mtu = (uint32_t)number(optarg, GATEWAY_MTU_MAX);
			break;
		case 'c':
			config.max_connections = (uint32_t)number(optarg, GATEWAY_CONNECTIONS_MAX);
			break;
		case 'P':
			pcap = open(optarg, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
			break;
		case 'S':
			config.strict = true;
			break;
		case 'R':
			config.rebind_protection = false;
			break;
		case 'T':
			config.dns_timeout_ms = (uint32_t)number(optarg, 60000);
			break;
		case 'b':
			add_name(&config.blocked, &config.blocked_count, optarg);
			break;
		case 'B':
			add_name(&config.suffixes, &config.suffix_count, optarg);
			break;
		case 'M':
			config.multi_tenant = true;
			break;
		case 'a':
			add_rate(optarg);
			break;
		case 'y':
			if (!relay_parse(optarg, &relay))
				exit(2);
			break;
		default:
			exit(2);
		}
	}
	if (!tap_name || optind != argc)
		exit(2);
}

/** enter() - A network namespace, if one is named. */
static void enter(const char *path)
{
	_cleanup_fd_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (path && (fd < 0 || setns(fd, CLONE_NEWNET) < 0))
		fail(path);
}

/** become() - An ordinary user, for good. */
static void become(uid_t uid)
{
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		fail("--user");
}

/** make_tap() - In a child, which enters the namespace. */
static int make_tap(void)
{
	/* Behind a bad wire, the guest's frames are those of a wire, too. */
	unsigned int offload = relay.on ? 0 : TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int pair[2], header = 12, fds[FD_PASS_MAX], fd, status;
	size_t count = 0;
	pid_t pid;
	char c;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		fail("socketpair");
	pid = fork();
	if (pid == 0) {
		enter(tap_net);
		fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
		snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", tap_name);
		if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 ||
		    ioctl(fd, TUNSETOFFLOAD, offload) < 0 || fd_send_msg(pair[1], "", 1, &fd, 1) < 0)
			fail("TAP");
		_exit(0);
	}
	close(pair[1]);
	if (fd_recv_msg(pair[0], &c, 1, fds, &count) != 1 || count != 1 || waitpid(pid, &status, 0) != pid)
		exit(1);
	close(pair[0]);
	return fds[0];
}

/** icmp_socket() - A ping socket or a raw one; -1: neither is allowed. */
static int icmp_socket(int family, int proto)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, proto);

	return fd >= 0 ? fd : socket(family, SOCK_RAW | SOCK_CLOEXEC, proto);
}

static void give(enum gateway_what what, uint32_t index, int fd)
{
	struct gateway_message m = { .kind = GATEWAY_GIVE, .what = what, .index = index };

	if (fd < 0)
		return;
	if (fd_send_msg(control, &m, sizeof(m), &fd, 1) < 0)
		fail("give");
	close(fd);
}

static void give_ports(void)
{
	for (size_t i = 0; i < config.port_count; i++) {
		struct sockaddr_storage addr;
		int family = address_family(&publish[i].ip), on = 1;
		socklen_t len = address_put(&addr, family, &publish[i]);
		int fd = socket(family, (config.ports[i].udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (bind(fd, (struct sockaddr *)&addr, len) < 0 || (!config.ports[i].udp && listen(fd, 1024) < 0))
			fail("publish");
		give(GATEWAY_LISTEN, (uint32_t)i, fd);
	}
}

static void give_all(int tap)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR };
	int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct buf b = BUF_INIT(GATEWAY_CONFIG_MAX);
	struct gateway_message m = { .kind = GATEWAY_CONFIG };
	int fd = fd_memfd("config", 0, false);

	if (!gateway_config_encode(&b, &config) || fd_write_full(fd, b.data, b.len) < 0 ||
	    fd_send_msg(control, &m, sizeof(m), &fd, 1) < 0)
		fail("configuration");
	close(fd);
	if (netlink < 0 || bind(netlink, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		fail("netlink");
	give(GATEWAY_FRAMES, 0, relay.on ? relay_start(tap, &relay) : tap);
	give(GATEWAY_NETLINK, 0, netlink);
	give(GATEWAY_ICMP4, 0, icmp_socket(AF_INET, IPPROTO_ICMP));
	give(GATEWAY_ICMP6, 0, icmp_socket(AF_INET6, IPPROTO_ICMPV6));
	give(GATEWAY_PCAP, 0, pcap);
	give_ports();
	m = (struct gateway_message){ .kind = GATEWAY_GO };
	fd_send_msg(control, &m, sizeof(m), NULL, 0);
	buf_free(&b);
}

static pid_t start(void)
{
	pid_t pid, parent = getpid();
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		fail("socketpair");
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		dup2(open("/dev/null", O_RDWR), 0);
		dup2(0, 1);
		if (pair[1] == GATEWAY_CONTROL_FD)
			fd_set_cloexec(pair[1], false);
		else
			dup2(pair[1], GATEWAY_CONTROL_FD);
		execl(program, program, (char *)NULL);
		fail(program);
	}
	close(pair[1]);
	control = pair[0];
	return pid;
}

/** told() - A message of the gateway's. Return: false when it is gone. */
static bool told(void)
{
	struct gateway_message m;
	ssize_t n = recv(control, &m, sizeof(m), 0);
	const struct gateway_counters *c = &m.counters;

	if (n != (ssize_t)sizeof(m))
		return false;
	if (m.kind == GATEWAY_READY)
		printf("ready\n");
	else if (m.kind == GATEWAY_FAILED)
		printf("failed: %s\n", m.text);
	else if (m.kind == GATEWAY_ACTIVITY)
		activity++;
	else if (m.kind == GATEWAY_COUNTED)
		printf("{\"rx_bytes\": %llu, \"tx_bytes\": %llu, \"dropped\": %llu, \"denied\": %llu, \"connections\": "
		       "%llu, "
		       "\"connections_total\": %llu, \"udp_sessions\": %llu}\n",
		       (unsigned long long)c->rx_bytes, (unsigned long long)c->tx_bytes, (unsigned long long)c->dropped,
		       (unsigned long long)c->denied, (unsigned long long)c->connections,
		       (unsigned long long)c->connections_total, (unsigned long long)c->udp_sessions);
	fflush(stdout);
	return true;
}

/** asked() - A line on the input. Return: false at its end. */
static bool asked(void)
{
	struct gateway_message m = { .kind = GATEWAY_COUNT };
	char line[64];
	ssize_t n = read(0, line, sizeof(line));

	if (n <= 0)
		return false;
	if (line[0] == 'a') {
		printf("%u\n", activity);
		fflush(stdout);
	} else {
		fd_send_msg(control, &m, sizeof(m), NULL, 0);
	}
	return true;
}

int main(int argc, char **argv)
{
	struct pollfd p[2] = { { .fd = 0, .events = POLLIN }, { .events = POLLIN } };
	struct rlimit files;
	int status = 0, tap;
	pid_t pid;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	defaults();
	parse(argc, argv);
	tap = make_tap();
	if (user)
		become(user);
	pid = start();
	give_all(tap);
	p[1].fd = control;
	while (poll(p, 2, -1) >= 0)
		if ((p[1].revents && !told()) || (p[0].revents && !asked()))
			break;
	close(control);
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		fprintf(stderr, "msb-gateway: signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
