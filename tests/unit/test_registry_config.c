/* SPDX-License-Identifier: Apache-2.0 */
/* config.json, the store and docker's configuration, in a home of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "registry/credentials.h"

static char home[64], docker[80], path_variable[512];

/** put() - A file below the home. */
static void put(const char *name, const char *text, mode_t mode)
{
	char path[256];
	_cleanup_fd_ int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", home, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(fd_write_full(fd, text, strlen(text)), 0);
}

static int setup(void **state)
{
	static const char *const folders[] = { "secrets", "secrets/registries", ".docker", "bin" };
	char path[256];

	(void)state;
	snprintf(home, sizeof(home), "/tmp/msb-test-XXXXXX");
	if (!mkdtemp(home))
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", home, folders[i]);
		if (mkdir(path, 0700) < 0)
			return -1;
	}
	snprintf(docker, sizeof(docker), "%s/.docker", home);
	setenv("DOCKER_CONFIG", docker, 1);
	unsetenv("MSB_CONFIG_PATH");
	snprintf(path_variable, sizeof(path_variable), "%s/bin:%s", home, getenv("PATH") ?: "/bin");
	setenv("PATH", path_variable, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return dir_remove_tree(AT_FDCWD, home, NULL);
}

/** load() - A config.json with this text. */
static struct config *load(const char *text, struct error *err)
{
	*err = (struct error)ERROR_INIT;
	put("config.json", text, 0600);
	return config_load(home, err);
}

static void test_config(void **state)
{
	struct error err;
	struct config *config = load(
		"{\"home\": 1, \"registries\": {\"ca_certs\": [\"/a\", \"/b\"], \"hosts\": {"
		"\"https://index.docker.io/v1/\": {\"mirrors\": [\"http://m:1\"]},"
		"\"Reg.example:5000\": {\"insecure\": true, \"auth\": {\"username\": \"u\", \"password_env\": \"V\"}},"
		"\"two\": {\"auth\": {\"username\": \"u\", \"password_env\": \"V\", \"secret_name\": \"s\"}},"
		"\"none\": {\"auth\": {\"username\": \"u\"}}}}}",
		&err);
	const char *files[CONFIG_LIST_MAX];
	struct config_host h;
	char name[256];

	(void)state;
	assert_non_null(config);
	assert_int_equal(config_ca_certs(config, files), 2);
	assert_string_equal(files[1], "/b");
	assert_true(config_host(config, "docker.io", &h));
	assert_int_equal(h.mirror_count, 1);
	assert_string_equal(h.mirrors[0], "http://m:1");
	assert_true(config_host(config, "reg.example:5000", &h));
	assert_true(h.insecure);
	assert_int_equal(h.auth, CONFIG_AUTH_ENV);
	assert_string_equal(h.value, "V");
	assert_true(config_host(config, "two", &h) && h.auth == CONFIG_AUTH_MULTIPLE);
	assert_true(config_host(config, "none", &h) && h.auth == CONFIG_AUTH_UNSET);
	assert_false(config_host(config, "other", &h));
	assert_false(h.insecure);
	assert_true(config_each(config, 3, name));
	assert_false(config_each(config, 4, name));
	config_free(config);
}

static void test_config_bad(void **state)
{
	static const char *const cases[][2] = {
		{ "{\n\"a\": 1,\n}", "line 3" },
		{ "[]", "must be an object" },
		{ "{\"registries\": 1}", "registries must be an object" },
		{ "{\"registries\": {\"ca_certs\": \"x\"}}", "registries.ca_certs must be a list" },
		{ "{\"registries\": {\"ca_certs\": [1]}}", "registries.ca_certs must be a list" },
		{ "{\"registries\": {\"hosts\": []}}", "registries.hosts must be an object" },
		{ "{\"registries\": {\"hosts\": {\"a b\": {}}}}", "\"a b\" is no host name" },
		{ "{\"registries\": {\"hosts\": {\"h\": {\"insecure\": \"yes\"}}}}",
		  "registries.hosts.h.insecure must be true or false" },
		{ "{\"registries\": {\"hosts\": {\"h\": {\"mirrors\": \"x\"}}}}",
		  "registries.hosts.h.mirrors must be" },
		{ "{\"registries\": {\"hosts\": {\"h\": {\"auth\": 1}}}}", "registries.hosts.h.auth must be" },
		{ "{\"registries\": {\"hosts\": {\"h\": {\"auth\": {\"store\": \"x\"}}}}}",
		  "registries.hosts.h.auth.store must be" },
		{ "{\"registries\": {}, \"registries\": {}}", "line 1" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error err;

		assert_null(load(cases[i][0], &err));
		if (!strstr(err.text, cases[i][1]))
			fail_msg("%s: %s", cases[i][0], err.text);
	}
}

/** find() - Who is it for this host? */
static int find(const char *text, const char *host, struct credentials *out, struct error *err)
{
	struct config *config = load(text, err);
	int rc;

	assert_non_null(config);
	rc = credentials_find(home, config, host, out, err);
	config_free(config);
	return rc;
}

static void test_order(void **state)
{
	static const char all[] = "{\"registries\": {\"hosts\": {\"reg.example\": {\"auth\": {\"username\": \"c\", "
				  "\"secret_name\": \"file\"}}}}}";
	struct credentials c = { .found = true, .username = "s", .password = "stored" };
	struct error err = ERROR_INIT;
	struct stat st;
	char path[128];

	(void)state;
	put(".docker/config.json", "{\"auths\": {\"reg.example\": {\"auth\": \"ZDpkb2NrZXI=\"}}}", 0600); /* d:docker */
	put("secrets/registries/file", "secret\r\n\n", 0600);
	assert_int_equal(store_put(home, "reg.example", &c, &err), 0);
	snprintf(path, sizeof(path), "%s/secrets/registries/reg.example", home);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(find(all, "Reg.Example", &c, &err), 0);
	assert_true(c.found);
	assert_string_equal(c.username, "s");
	assert_string_equal(c.password, "stored");
	assert_int_equal(store_remove(home, "reg.example", &err), 1);
	assert_int_equal(store_remove(home, "reg.example", &err), 0);
	assert_int_equal(find(all, "reg.example", &c, &err), 0);
	assert_string_equal(c.username, "c");
	assert_string_equal(c.password, "secret");
	assert_int_equal(find("{}", "reg.example", &c, &err), 0);
	assert_string_equal(c.username, "d");
	assert_string_equal(c.password, "docker");
	assert_int_equal(find("{}", "other.example", &c, &err), 0);
	assert_false(c.found);
}

static void test_config_auth(void **state)
{
	struct credentials c;
	struct error err;

	(void)state;
	put(".docker/config.json", "{}", 0600);
	setenv("MSB_TEST_PASSWORD", "from env", 1);
	assert_int_equal(find("{\"registries\":{\"hosts\":{\"h\":{\"auth\":{\"username\":\"u\",\"password_env\":\"MSB_"
			      "TEST_PASSWORD\"}}}}}",
			      "h", &c, &err),
			 0);
	assert_string_equal(c.password, "from env");
	unsetenv("MSB_TEST_PASSWORD");
	assert_int_equal(find("{\"registries\":{\"hosts\":{\"h\":{\"auth\":{\"username\":\"u\",\"password_env\":\"MSB_"
			      "TEST_PASSWORD\"}}}}}",
			      "h", &c, &err),
			 -ERR_INVALID);
	assert_non_null(strstr(err.text, "not set"));
	assert_int_equal(find("{\"registries\":{\"hosts\":{\"h\":{\"auth\":{\"username\":\"u\"}}}}}", "h", &c, &err),
			 -ERR_INVALID);
	assert_non_null(strstr(err.text, "exactly one"));
	assert_int_equal(
		find("{\"registries\":{\"hosts\":{\"h\":{\"auth\":{\"username\":\"u\",\"store\":\"keyring\"}}}}}", "h",
		     &c, &err),
		-ERR_INVALID);
	assert_string_equal(err.hint, "msb registry login h -u u");
	/* A secret that others could read is none, and a name may not lead out of the folder. */
	put("secrets/registries/open", "x", 0644);
	assert_int_equal(
		find("{\"registries\":{\"hosts\":{\"h\":{\"auth\":{\"username\":\"u\",\"secret_name\":\"open\"}}}}}",
		     "h", &c, &err),
		-ERR_PERMISSION);
	assert_non_null(strstr(err.hint, "chmod 600"));
	assert_int_equal(find("{\"registries\":{\"hosts\":{\"h\":{\"auth\":{\"username\":\"u\",\"secret_name\":\"../../"
			      "config.json\"}}}}}",
			      "h", &c, &err),
			 -ERR_INVALID);
}

static void test_docker(void **state)
{
	static const char helper[] =
		"#!/bin/sh\nread key\n[ \"$1\" = get ] || exit 1\ncase $key in\n"
		"ident.example) echo '{\"Username\":\"<token>\",\"Secret\":\"x\"}' ;;\n"
		"own.example) echo '{\"ServerURL\":\"x\",\"Username\":\"h\",\"Secret\":\"helped\"}' ;;\n"
		"loud.example) yes | head -c 1000000 ;;\n"
		"https://index.docker.io/v1/) echo '{\"Username\":\"hub\",\"Secret\":\"s\"}' ;;\n"
		"*) echo credentials not found; exit 1 ;; esac\n";
	struct credentials c;
	struct error err;

	(void)state;
	put("bin/docker-credential-msbtest", helper, 0700);
	put(".docker/config.json",
	    "{\"auths\": {\"https://old.example\": {\"auth\": \"dTpwOnE=\"}, \"bad\": {\"auth\": \"!\"},"
	    "\"colon.example\": {\"auth\": \"OnA=\"}, \"idt\": {\"identitytoken\": \"t\"}},"
	    "\"credHelpers\": {\"own.example\": \"msbtest\", \"gone.example\": \"missing\"},"
	    "\"credsStore\": \"msbtest\"}",
	    0600);
	assert_int_equal(find("{}", "old.example", &c, &err), 0);
	assert_string_equal(c.username, "u");
	assert_string_equal(c.password, "p:q");
	assert_int_equal(find("{}", "own.example", &c, &err), 0);
	assert_string_equal(c.password, "helped");
	assert_non_null(strstr(c.source, "docker-credential-msbtest"));
	assert_int_equal(find("{}", "docker.io", &c, &err), 0);
	assert_string_equal(c.username, "hub");
	assert_int_equal(find("{}", "ident.example", &c, &err), 0);
	assert_false(c.found);
	assert_int_equal(find("{}", "bad", &c, &err), 0);
	assert_false(c.found);
	assert_int_equal(find("{}", "colon.example", &c, &err), 0);
	assert_false(c.found);
	assert_int_equal(find("{}", "gone.example", &c, &err), 0);
	assert_false(c.found);
	assert_int_equal(find("{}", "loud.example", &c, &err), 0); /* more than a helper may say */
	assert_false(c.found);
	put(".docker/config.json", "{", 0600);
	assert_int_equal(find("{}", "old.example", &c, &err), -ERR_INVALID);
	assert_non_null(strstr(err.text, "line 1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),	    cmocka_unit_test(test_config_bad), cmocka_unit_test(test_order),
		cmocka_unit_test(test_config_auth), cmocka_unit_test(test_docker),
	};

	return cmocka_run_group_tests_name("registry_config", tests, setup, teardown);
}
