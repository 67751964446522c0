/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the host, read line by line with a limit. Source: proc(5), resolv.conf(5). */
#include "engine/host_network.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/num.h"

#define DNS_PORT 53
#define TABLE_BYTES_MAX (1u << 20) /* of a table in /proc/net */
#define LINE_MAX_BYTES 256
#define FIELDS_MAX 16
#define TCP_LISTEN "0A"

/** A line cut into words; they point into text. */
struct line {
	char text[LINE_MAX_BYTES];
	size_t count;
	const char *field[FIELDS_MAX];
};

/** next_line() - Cut the next line off; a longer one than LINE_MAX_BYTES is cut. Return: false: there is none. */
static bool next_line(const char **text, size_t *n, struct line *line)
{
	const char *end = memchr(*text, '\n', *n);
	size_t all = end ? (size_t)(end - *text) : *n, kept = MIN(all, sizeof(line->text) - 1);
	char *save, *word;

	if (*n == 0)
		return false;
	memcpy(line->text, *text, kept);
	line->text[kept] = '\0';
	*text += end ? all + 1 : all;
	*n -= end ? all + 1 : all;
	line->count = 0;
	for (word = strtok_r(line->text, " \t\r", &save); word && line->count < FIELDS_MAX;
	     word = strtok_r(NULL, " \t\r", &save))
		line->field[line->count++] = word;
	return true;
}

size_t resolv_servers(const char *text, size_t n, struct endpoint *out, size_t max)
{
	struct line line;
	size_t count = 0;

	while (count < max && next_line(&text, &n, &line))
		if (line.count >= 2 && strcmp(line.field[0], "nameserver") == 0 &&
		    ip_parse(line.field[1], &out[count].ip))
			out[count++].port = DNS_PORT;
	if (count == 0 && max)
		out[count++] = (struct endpoint){ .ip = ip_v4((const uint8_t[]){ 127, 0, 0, 1 }), .port = DNS_PORT };
	return count;
}

bool routes_any(const char *text, size_t n)
{
	struct line line;

	while (next_line(&text, &n, &line)) {
		const char *to = line.count ? line.field[0] : "";

		/* Link-local and multicast are routes of every interface. */
		if (line.count >= 10 && strcmp(line.field[9], "lo") != 0 && strncmp(to, "fe8", 3) != 0 &&
		    strncmp(to, "ff", 2) != 0)
			return true;
	}
	return false;
}

/** read_table() - A file of /proc. Return: false: it cannot be read. */
static bool read_table(const char *path, struct buf *out)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	while (fd >= 0 && out->len < out->max) {
		size_t room = MIN(out->max - out->len, KIB(64));
		uint8_t *at = buf_extend(out, room);

		n = at ? read(fd, at, room) : -1;
		out->len -= room - (n > 0 ? (size_t)n : 0);
		if (n <= 0)
			break;
	}
	return fd >= 0 && n >= 0;
}

bool host_has_ipv6(void)
{
	struct buf table = BUF_INIT(TABLE_BYTES_MAX);
	/* Without IPv6 in the kernel there is no such file. */
	bool any = read_table("/proc/net/ipv6_route", &table) && routes_any((const char *)table.data, table.len);

	buf_free(&table);
	return any;
}

unsigned long socket_inode(const char *text, size_t n, uint16_t port, bool udp)
{
	struct line line;
	char suffix[8];

	snprintf(suffix, sizeof(suffix), ":%04X", port);
	while (next_line(&text, &n, &line)) {
		const char *colon = line.count >= 10 ? strrchr(line.field[1], ':') : NULL;
		uint64_t inode;

		if (colon && strcmp(colon, suffix) == 0 && (udp || strcmp(line.field[3], TCP_LISTEN) == 0) &&
		    num_parse_u64(line.field[9], UINT32_MAX, &inode) && inode)
			return (unsigned long)inode;
	}
	return 0;
}

/** holds() - Has a process this socket open? */
static bool holds(int proc, const char *pid, const char *wanted)
{
	char path[64], link[64];
	_cleanup_fd_ int fd = -1;
	struct dirent *e;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "%.20s/fd", pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return false;
	fd = -1; /* the stream's */
	while (!found && (e = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);

		link[MAX(n, 0)] = '\0';
		found = strcmp(link, wanted) == 0;
	}
	closedir(dir);
	return found;
}

/** find_holder() - Of a socket. */
static bool find_holder(unsigned long inode, char *out, size_t size)
{
	char wanted[64], path[64], name[32] = "";
	struct dirent *e;
	bool found = false;
	DIR *dir = opendir("/proc");

	snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
	while (dir && !found && (e = readdir(dir))) {
		struct buf comm = BUF_INIT(sizeof(name));

		if (!isdigit((unsigned char)e->d_name[0]) || !holds(dirfd(dir), e->d_name, wanted))
			continue;
		found = true;
		snprintf(path, sizeof(path), "/proc/%.20s/comm", e->d_name);
		if (read_table(path, &comm) && comm.len > 1)
			snprintf(name, sizeof(name), "%.*s", (int)comm.len - 1, (const char *)comm.data);
		snprintf(out, size, "%s (process %.20s)", name, e->d_name);
		buf_free(&comm);
	}
	if (dir)
		closedir(dir);
	return found;
}

bool port_holder(uint16_t port, bool udp, char *out, size_t size)
{
	static const char *const tables[2][2] = { { "/proc/net/tcp", "/proc/net/tcp6" },
						  { "/proc/net/udp", "/proc/net/udp6" } };
	unsigned long inode = 0;

	for (size_t i = 0; i < 2 && !inode; i++) {
		struct buf table = BUF_INIT(TABLE_BYTES_MAX);

		if (read_table(tables[udp][i], &table))
			inode = socket_inode((const char *)table.data, table.len, port, udp);
		buf_free(&table);
	}
	return inode && find_holder(inode, out, size);
}
