/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "base/nearest.h"
#include "registry/json.h"
#include "registry/parse.h"

/** challenge() - Parse one header. */
static struct challenge challenge(const char *s)
{
	struct challenge c = { .basic = false };

	challenge_parse(s, strlen(s), &c);
	return c;
}

static void test_challenge(void **state)
{
	struct challenge c = challenge("Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
				       "scope=\"repository:library/python:pull\"");

	(void)state;
	assert_true(c.bearer && !c.basic);
	assert_string_equal(c.realm, "https://auth.docker.io/token");
	assert_string_equal(c.service, "registry.docker.io");
	assert_string_equal(c.scope, "repository:library/python:pull");
	c = challenge("Basic realm=\"Registry, with a comma\"");
	assert_true(c.basic && !c.bearer);
	assert_string_equal(c.realm, "");
	/* Both in one header, any case, blanks around, a token as value, an escaped quote. */
	c = challenge("  ,basic Realm=x , BEARER  REALM = \"http://h/t\\\"\" ,Service=abc,error=\"invalid_token\"");
	assert_true(c.basic && c.bearer);
	assert_string_equal(c.realm, "http://h/t\"");
	assert_string_equal(c.service, "abc");
	/* A realm of Basic is not the bearer's. */
	c = challenge("Bearer realm=\"a\", Basic realm=\"b\"");
	assert_string_equal(c.realm, "a");
	/* A scheme that is not known, with a token68. */
	c = challenge("Negotiate oRQwEqADCg==, Basic realm=x");
	assert_true(c.basic && !c.bearer);
}

/** Nothing of these may be taken for a realm. */
static void test_challenge_bad(void **state)
{
	static const char *const cases[] = {
		"",
		" ",
		",",
		"=",
		"\"",
		"Bearer",
		"Bearer realm",
		"Bearer realm=",
		"Bearer realm=\"abc",
		"realm=\"abc\"",
		"Bearer realm=\"a\x01b\"",
		"Bearer realm=\"a\r\nb\"",
	};
	char *large = malloc(4000);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(challenge(cases[i]).realm, "");
	assert_non_null(large);
	snprintf(large, 4000, "Bearer realm=\"%03000d\",service=\"s\"", 1);
	assert_string_equal(challenge(large).realm, "");
	assert_string_equal(challenge(large).service, "s");
	free(large);
}

/** head() - Take in lines. */
static struct answer *head(const char *const *lines)
{
	static struct answer a;

	a = (struct answer){ .length = NOT_SAID };
	for (; *lines; lines++)
		assert_true(answer_header(&a, *lines, strlen(*lines)));
	return &a;
}

static void test_answer(void **state)
{
	struct answer *a = head((const char *const[]){
		"HTTP/1.1 100 Continue\r\n", "Location: /old\r\n", "\r\n", "HTTP/1.1 206 Partial Content\r\n",
		"content-LENGTH:  42 \r\n", "Content-Type: Application/JSON; charset=utf-8\r\n", "Retry-After: 7\r\n",
		"Docker-Content-Digest: sha256:ab\r\n", "Content-Range: bytes 1-2/3\r\n",
		"WWW-Authenticate: Basic realm=x\r\n", "WWW-Authenticate: Bearer realm=\"u\"\r\n", "X: y\r\n",
		"none\r\n", "\r\n", NULL });

	(void)state;
	assert_int_equal(a->status, 206);
	assert_int_equal(a->length, 42);
	assert_true(a->framed);
	assert_string_equal(a->type, "application/json");
	assert_string_equal(a->retry_after, "7");
	assert_string_equal(a->digest, "sha256:ab");
	assert_string_equal(a->range, "bytes 1-2/3");
	assert_string_equal(a->location, "");
	assert_true(a->challenge.basic && a->challenge.bearer);
	a = head((const char *const[]){ "HTTP/1.1 2\r\n", "Content-Length: 99999999999999999999\r\n",
					"Content-Length: -1\r\n", "Docker-Content-Digest: a\x1b[2Jb\r\n", NULL });
	assert_int_equal(a->length, NOT_SAID);
	assert_string_equal(a->digest, "");
	assert_int_equal(head((const char *const[]){ "HTTP/2 200\r\n", NULL })->status, 200);
	assert_int_equal(head((const char *const[]){ "HTTP/1.1 x\r\n", NULL })->status, 0);
}

static void test_answer_bound(void **state)
{
	struct answer a = { .length = NOT_SAID };
	char line[1000];
	size_t count = 0;

	(void)state;
	snprintf(line, sizeof(line), "X: %0990d\r\n", 1);
	while (count < 100 && answer_header(&a, line, strlen(line)))
		count++;
	assert_in_range(count, 60, 66);
	/* A new head does not begin the count anew. */
	assert_false(answer_header(&a, "HTTP/1.1 200 OK\r\n", 17));
}

static void test_content_range(void **state)
{
	static const char *const bad[] = {
		"",
		"bytes",
		"bytes ",
		"bytes 1-2",
		"bytes 1-2/",
		"bytes 2-1/5",
		"bytes 1-5/5",
		"bytes */5",
		"bytes -1-2/5",
		"bytes 1-2/5 ",
		"bytes 1-2/5x",
		"items 1-2/5",
		"bytes 99999999999999999999-1/2",
		"bytes 1 -2/5",
	};
	uint64_t first, last, total;

	(void)state;
	assert_true(content_range_parse("bytes 5-9/10", &first, &last, &total));
	assert_int_equal(first, 5);
	assert_int_equal(last, 9);
	assert_int_equal(total, 10);
	assert_true(content_range_parse("Bytes 0-0/*", &first, &last, &total));
	assert_int_equal(total, NOT_SAID);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (content_range_parse(bad[i], &first, &last, &total))
			fail_msg("accepted: \"%s\"", bad[i]);
}

static void test_retry_after(void **state)
{
	uint64_t s = 99;

	(void)state;
	assert_true(retry_after_parse("0", 0, &s) && s == 0);
	assert_true(retry_after_parse("120", 0, &s) && s == 120);
	assert_true(retry_after_parse("99999999999999999999999", 0, &s) && s == INT64_MAX);
	assert_true(retry_after_parse("Sun, 06 Nov 1994 08:49:37 GMT", 784111777 - 10, &s) && s == 10);
	assert_true(retry_after_parse("Sun, 06 Nov 1994 08:49:37 GMT", 784111777 + 10, &s) && s == 0);
	assert_false(retry_after_parse("", 0, &s));
	assert_false(retry_after_parse("-1", 0, &s));
	assert_false(retry_after_parse("1.5", 0, &s));
	assert_false(retry_after_parse("soon", 0, &s));
}

static void test_base64(void **state)
{
	static const char *const pairs[][2] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "user:p\xc3\xa4ss", "dXNlcjpww6Rzcw==" },
	};
	uint8_t out[64];
	char text[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		size_t n = strlen(pairs[i][0]);

		base64_encode((const uint8_t *)pairs[i][0], n, text);
		assert_string_equal(text, pairs[i][1]);
		assert_int_equal(base64_decode(pairs[i][1], strlen(pairs[i][1]), out), n);
		assert_memory_equal(out, pairs[i][0], n);
	}
	assert_int_equal(base64_decode("Zg", 2, out), 1); /* padding may be missing */
	assert_int_equal(base64_decode("Z", 1, out), -1);
	assert_int_equal(base64_decode("Zg=g", 4, out), -1);
	assert_int_equal(base64_decode("Z g=", 4, out), -1);
	assert_int_equal(base64_decode("Z\0gg", 4, out), -1);
}

static void test_hosts(void **state)
{
	static const char *const hub[] = { "docker.io", "index.docker.io", "https://index.docker.io/v1/",
					   "Registry-1.Docker.IO" };
	static const char *const bad[] = { "", "/", "https://", "a b", "../x", ".x", "a@b", "-a" };
	static const char *const near[] = { "127.0.0.1", "127.0.0.1:5000", "127.255.3.4:1",
					    "localhost", "LOCALHOST:80",   "[::1]:5000" };
	static const char *const far[] = { "127.0.0.1.example", "128.0.0.1", "localhost.example", "[::2]", "127.1",
					   "x127.0.0.1",	"" };
	char out[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(hub); i++) {
		assert_true(host_canonical(hub[i], out));
		assert_string_equal(out, "docker.io");
	}
	assert_true(host_canonical("http://Reg.Example:5000/v2/", out));
	assert_string_equal(out, "reg.example:5000");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (host_canonical(bad[i], out))
			fail_msg("accepted: \"%s\"", bad[i]);
	for (size_t i = 0; i < ARRAY_LEN(near); i++)
		if (!host_is_loopback(near[i]))
			fail_msg("not loopback: \"%s\"", near[i]);
	for (size_t i = 0; i < ARRAY_LEN(far); i++)
		if (host_is_loopback(far[i]))
			fail_msg("loopback: \"%s\"", far[i]);
}

static void test_error_json(void **state)
{
	static const char good[] =
		"{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"unknown\",\"detail\":{}}]}";
	static const char *const bad[] = {
		"", "{", "[]", "{}", "{\"errors\":[]}", "{\"errors\":{}}", "{\"errors\":[1]}", "<html>"
	};
	struct registry_error e;

	(void)state;
	assert_true(registry_error_parse(good, strlen(good), &e));
	assert_string_equal(e.code, "MANIFEST_UNKNOWN");
	assert_string_equal(e.message, "unknown");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_false(registry_error_parse(bad[i], strlen(bad[i]), &e));
		assert_string_equal(e.code, "");
	}
	assert_true(registry_error_parse("{\"errors\":[{\"code\":7}]}", 23, &e));
	assert_string_equal(e.code, "");
}

static void test_token_json(void **state)
{
	static const char *const bad[] = {
		"",
		"{}",
		"{\"token\":\"\"}",
		"{\"token\":1}",
		"{\"token\":\"a b\"}",
		"{\"token\":\"a\\r\\nX: y\"}",
		"{\"token\":\"\\u00e4\"}",
	};
	static char token[TOKEN_MAX], large[2 * TOKEN_MAX];
	uint64_t seconds;

	(void)state;
	assert_true(token_parse("{\"token\":\"abc\",\"expires_in\":300}", 32, token, &seconds));
	assert_string_equal(token, "abc");
	assert_int_equal(seconds, 300);
	assert_true(token_parse("{\"access_token\":\"x\"}", 20, token, &seconds));
	assert_int_equal(seconds, 60);
	assert_true(token_parse("{\"token\":\"x\",\"expires_in\":-5}", 29, token, &seconds) && seconds == 60);
	assert_true(token_parse("{\"token\":\"x\",\"expires_in\":999999999999}", 39, token, &seconds) &&
		    seconds == 86400);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (token_parse(bad[i], strlen(bad[i]), token, &seconds))
			fail_msg("accepted: %s", bad[i]);
	snprintf(large, sizeof(large), "{\"token\":\"%0*d\"}", TOKEN_MAX, 1);
	assert_false(token_parse(large, strlen(large), token, &seconds));
}

static void test_nearest(void **state)
{
	static const char tags[] = "{\"name\":\"x\",\"tags\":[\"3.10\",\"3.12\",null,7,\"latest\",\"3.12-slim\"]}";
	static const char many[] = "{\"tags\":[\"1\",\"0123456789012345678901234567890123456789\","
				   "\"0123456789012345678901234567890123456789\",\"2\"]}";
	char out[256];

	(void)state;
	assert_true(list_nearest(tags, strlen(tags), "tags", "3.13", out));
	assert_string_equal(out, "3.10"); /* as near as 3.12, and first */
	assert_true(list_nearest(tags, strlen(tags), "tags", "3.12-slin", out));
	assert_string_equal(out, "3.12-slim");
	assert_false(list_nearest(tags, strlen(tags), "tags", "nightly", out));
	assert_false(list_nearest(tags, strlen(tags), "repositories", "3.13", out));
	assert_false(list_nearest("{\"tags\":null}", 13, "tags", "3.13", out));
	assert_false(list_nearest("", 0, "tags", "3.13", out));
	assert_int_equal(list_some("{\"tags\":[\"1\"]}", 14, "tags", out), 1);
	assert_string_equal(out, "1");
	assert_int_equal(list_some(many, strlen(many), "tags", out), 4);
	assert_string_equal(out, "1, 0123456789012345678901234567890123456789 and 2 more");
	assert_int_equal(list_some("{\"tags\":[1]}", 12, "tags", out), 0);
	assert_int_equal(list_some("{\"tags\":[]}", 11, "tags", out), 0);
	assert_string_equal(out, "");
	assert_int_equal(word_distance("pyhton", "python"), 2);
	assert_int_equal(word_distance("", "abc"), 3);
	assert_int_equal(word_distance("a012345678901234567890123456789012345678901234567890123456789012345", "a"),
			 NEAREST_FAR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_challenge),     cmocka_unit_test(test_challenge_bad),
		cmocka_unit_test(test_answer),	      cmocka_unit_test(test_answer_bound),
		cmocka_unit_test(test_content_range), cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_base64),	      cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_error_json),    cmocka_unit_test(test_token_json),
		cmocka_unit_test(test_nearest),
	};

	return cmocka_run_group_tests_name("registry_parse", tests, NULL, NULL);
}
