/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway's resolver without a gateway, for tests: dns-front [-t MS] [-r] UPSTREAM...
 * Asks the upstreams (IP:PORT, [IP]:PORT), answers by UDP and TCP on a port of loopback. -r: no rebind protection.
 * Says "port N" first; then on standard input "named IP NAME" is answered by yes or no, "counts" by a line of numbers.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/macros.h"
#include "base/num.h"
#include "net/dns/dns.h"

#define CONNECTIONS_MAX 64
#define UDP_MAX 2048 /* questions that wait */

/** A question that came by UDP. */
struct datagram {
	bool used;
	struct sockaddr_in from;
};

struct connection {
	int fd, source;
	uint64_t waiting; /* one question at a time */
	struct dns_split split;
};

static struct loop *loop;
static struct dns *dns;
static int udp, tcp;
static struct datagram datagrams[UDP_MAX];
static struct connection connections[CONNECTIONS_MAX];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void on_udp_answer(void *arg, const uint8_t *message, size_t n)
{
	struct datagram *d = arg;

	d->used = false;
	if (n)
		sendto(udp, message, n, 0, (struct sockaddr *)&d->from, sizeof(d->from));
}

static void on_udp(void *arg, uint32_t events)
{
	uint8_t message[4096];

	(void)arg;
	(void)events;
	for (unsigned int i = 0; i < UDP_MAX; i++) {
		struct datagram *d = &datagrams[i];
		socklen_t size = sizeof(d->from);
		ssize_t n;

		if (d->used)
			continue;
		n = recvfrom(udp, message, sizeof(message), 0, (struct sockaddr *)&d->from, &size);
		if (n < 0)
			return;
		d->used = true;
		dns_ask(dns, message, (size_t)n, NULL, DNS_UDP, on_udp_answer, d);
	}
}

static void hang_up(struct connection *c)
{
	dns_cancel(dns, c->waiting);
	c->waiting = 0;
	loop_remove(loop, &c->source);
	close(c->fd);
	c->fd = -1;
}

static void on_tcp_answer(void *arg, const uint8_t *message, size_t n)
{
	struct connection *c = arg;
	uint8_t prefix[2];

	c->waiting = 0;
	if (n == 0) {
		shutdown(c->fd, SHUT_RDWR);
		return;
	}
	dns_prefix(prefix, n);
	send(c->fd, prefix, 2, MSG_MORE | MSG_NOSIGNAL);
	send(c->fd, message, n, MSG_NOSIGNAL);
	loop_modify(loop, c->source, EPOLLIN);
}

/** on_connection() - A byte at a time, so that no question is read while another one waits. */
static void on_connection(void *arg, uint32_t events)
{
	struct connection *c = arg;
	const uint8_t *message;
	size_t taken, length;
	uint8_t byte;
	ssize_t n = recv(c->fd, &byte, 1, 0);

	(void)events;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || !dns_split(&c->split, &byte, 1, &taken, &message, &length)) {
		hang_up(c);
		return;
	}
	if (!message)
		return;
	loop_modify(loop, c->source, 0);
	c->waiting = dns_ask(dns, message, length, NULL, DNS_TCP, on_tcp_answer, c);
}

static void on_accept(void *arg, uint32_t events)
{
	int fd = accept4(tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)arg;
	(void)events;
	for (unsigned int i = 0; fd >= 0 && i < CONNECTIONS_MAX; i++) {
		struct connection *c = &connections[i];

		if (c->fd >= 0)
			continue;
		*c = (struct connection){ .fd = fd };
		c->source = loop_add(loop, fd, EPOLLIN, on_connection, c, NULL);
		return;
	}
	if (fd >= 0)
		close(fd);
}

static void on_command(void *arg, uint32_t events)
{
	char line[1200], *ip, *name, *rest;
	struct ip at;

	(void)arg;
	(void)events;
	if (!fgets(line, sizeof(line), stdin)) {
		loop_stop(loop, 0);
		return;
	}
	ip = strtok_r(line, " \n", &rest);
	if (ip && strcmp(ip, "counts") == 0) {
		struct dns_counts c;

		dns_counts(dns, &c);
		printf("{\"questions\": %lu, \"asked\": %lu, \"cached\": %lu, \"refused\": %lu, \"overloads\": %lu, "
		       "\"queries\": %u, \"cache_entries\": %u, \"cache_bytes\": %u, \"names\": %u}\n",
		       c.questions, c.asked, c.cached, c.refused_answers, c.overloads, c.queries, c.cache_entries,
		       c.cache_bytes, c.names);
	} else {
		ip = strtok_r(NULL, " \n", &rest);
		name = strtok_r(NULL, "\n", &rest);
		puts(ip && name && ip_parse(ip, &at) && dns_named(dns, &at, name, DNS_EXACT, DNS_CONFIGURED_ONLY) ? "yes" :
														     "no");
	}
	fflush(stdout);
}

/** parse_endpoint() - IP:PORT or [IP]:PORT */
static struct endpoint parse_endpoint(char *text)
{
	char *colon = strrchr(text, ':');
	struct endpoint e;
	uint64_t port;

	if (!colon || !num_parse_u64(colon + 1, 65535, &port))
		die(text);
	*colon = '\0';
	if (*text == '[') {
		text++;
		colon[-1] = '\0';
	}
	if (!ip_parse(text, &e.ip))
		die(text);
	e.port = (uint16_t)port;
	return e;
}

int main(int argc, char **argv)
{
	struct dns_config config = { .rebind_protection = true, .v4 = true, .v6 = true };
	struct endpoint upstreams[DNS_UPSTREAMS_MAX];
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct error err = ERROR_INIT;
	socklen_t size = sizeof(at);
	uint64_t ms = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-r") == 0)
			config.rebind_protection = false;
		else if (strcmp(argv[i], "-t") == 0 && i + 1 < argc && num_parse_u64(argv[i + 1], 60000, &ms))
			i++;
		else if (config.upstream_count < DNS_UPSTREAMS_MAX)
			upstreams[config.upstream_count++] = parse_endpoint(argv[i]);
	}
	config.upstreams = upstreams;
	config.timeout_ms = (uint32_t)ms;
	loop = loop_new(&err);
	dns = dns_new(loop, &config, NULL, NULL, &err);
	if (!dns) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	for (unsigned int i = 0; i < CONNECTIONS_MAX; i++)
		connections[i].fd = -1;
	tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (bind(tcp, (struct sockaddr *)&at, size) < 0 || listen(tcp, 64) < 0 ||
	    getsockname(tcp, (struct sockaddr *)&at, &size) < 0 || bind(udp, (struct sockaddr *)&at, size) < 0)
		die("listen");
	setvbuf(stdin, NULL, _IONBF, 0);
	if (loop_add(loop, udp, EPOLLIN, on_udp, NULL, NULL) < 0 || loop_add(loop, tcp, EPOLLIN, on_accept, NULL, NULL) < 0 ||
	    loop_add(loop, STDIN_FILENO, EPOLLIN, on_command, NULL, NULL) < 0)
		die("loop");
	printf("port %u\n", ntohs(at.sin_port));
	fflush(stdout);
	loop_run(loop, NULL);
	dns_free(dns);
	loop_free(loop);
	return 0;
}
