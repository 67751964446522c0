/* SPDX-License-Identifier: Apache-2.0 */
/* What is read from files of the host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macros.h"
#include "engine/host_network.h"

#define MAX_SERVERS 4

/** expect_servers() - A file and what it names, separated by blanks. */
static void expect_servers(const char *file, const char *expected)
{
	struct endpoint e[MAX_SERVERS];
	size_t n = resolv_servers(file, strlen(file), e, MAX_SERVERS);
	char all[512] = "", one[ENDPOINT_TEXT_MAX];

	for (size_t i = 0; i < n; i++)
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? " " : "",
			 endpoint_format(&e[i], one));
	assert_string_equal(all, expected);
}

static void test_resolv(void **state)
{
	static char long_line[5000];

	(void)state;
	expect_servers("", "127.0.0.1:53");
	expect_servers("# nameserver 1.1.1.1\n;nameserver 1.1.1.2\n", "127.0.0.1:53");
	expect_servers("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n", "127.0.0.53:53");
	expect_servers("search a b\n  nameserver\t9.9.9.9  # here\nnameserver 2001:db8::1",
		       "9.9.9.9:53 [2001:db8::1]:53");
	expect_servers(
		"nameserver 1.2.3\nnameserver fe80::1%eth0\nnameserver\nnameservers 8.8.8.8\nnameserver 8.8.4.4\r\n",
		"8.8.4.4:53");
	expect_servers(
		"nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\nnameserver 1.1.1.5\n",
		"1.1.1.1:53 1.1.1.2:53 1.1.1.3:53 1.1.1.4:53");
	/* a long line is one line */
	memset(long_line, 'x', sizeof(long_line) - 1);
	memcpy(long_line + 3000, " nameserver 6.6.6.6 ", 20);
	memcpy(long_line + sizeof(long_line) - 21, "\nnameserver 5.5.5.5\n", 20);
	expect_servers(long_line, "5.5.5.5:53");
	assert_int_equal(resolv_servers("nameserver 1.1.1.1\0nameserver 1.1.1.2\n", 37, (struct endpoint[1]){ 0 }, 1),
			 1);
}

static void test_routes(void **state)
{
	static const char v6_lo[] = "00000000000000000000000000000001 80 00000000000000000000000000000000 00 "
				    "00000000000000000000000000000000 00000000 00000001 00000000 80200001       lo\n";
	static const char v6_link[] = "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 "
				      "00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n"
				      "ff000000000000000000000000000000 08 00000000000000000000000000000000 00 "
				      "00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n";
	static const char v6_net[] = "26064700000000000000000000000000 40 00000000000000000000000000000000 00 "
				     "00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n";
	char text[2048];

	(void)state;
	snprintf(text, sizeof(text), "%s%s", v6_lo, v6_link);
	assert_false(routes_any(text, strlen(text)));
	snprintf(text, sizeof(text), "%s%s%s", v6_lo, v6_link, v6_net);
	assert_true(routes_any(text, strlen(text)));
	assert_false(routes_any("26064700 40 eth0\n", 17));
	assert_false(routes_any("", 0));
}

/** test_holder() - This process has a port; it says so of itself. */
static void test_holder(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(at);
	char holder[96], expected[96];

	(void)state;
	prctl(PR_SET_NAME, "port holder");
	snprintf(expected, sizeof(expected), "port holder (process %d)", (int)getpid());
	for (int udp = 0; udp < 2; udp++) {
		int fd = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
		uint16_t port;

		at.sin_port = 0;
		assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
		port = ntohs(at.sin_port);
		if (!udp) {
			assert_false(port_holder(port, false, holder, sizeof(holder))); /* bound is not listening */
			assert_int_equal(listen(fd, 1), 0);
		}
		assert_true(port_holder(port, udp, holder, sizeof(holder)));
		assert_string_equal(holder, expected);
		close(fd);
		assert_false(port_holder(port, udp, holder, sizeof(holder)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resolv),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_holder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
