/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox.json: what is written is read again; what is damaged is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/macros.h"
#include "engine/sandbox_json.h"

static struct sandbox_json got;

/** same_words() - Two lists. */
static void same_words(const char *const *a, size_t n, const char *const *b, size_t m)
{
	assert_int_equal(n, m);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(a[i], b[i]);
}

static void everything_comes_back(void **state)
{
	const char *const env[] = { "A=1", "B=\"x\\y\n=ü" }, *const labels[] = { "team=core", "empty=" };
	const char *const mkdirs[] = { "/a", "/b/c" }, *const removes[] = { "/etc/motd" };
	const char *const args[] = { "--x" }, *const init_env[] = { "I=2" };
	char *const command[] = { "sh", "-c", "echo hi" };
	const struct msg_mount tmpfs[] = { { .path = "/t", .bytes = MIB(5), .mode = 01777, .noexec = true },
					   { .path = "/u", .read_only = true, .nosuid = true, .nodev = true } };
	const struct msg_rlimit limits[] = { { .resource = RLIMIT_CORE, .soft = 0, .hard = UINT64_MAX },
					     { .resource = RLIMIT_NOFILE, .soft = 10, .hard = 20 } };
	struct net_spec net;
	const struct run_spec in = { .name = "box.1_a-b",
				     .image = "localhost/busybox:1",
				     .digest = "sha256:0123",
				     .memory_mib = 128,
				     .cpus = 3,
				     .env = env,
				     .env_count = 2,
				     .workdir = "/w",
				     .user = "1000:1000",
				     .hostname = "h",
				     .shell = "/bin/ash",
				     .entrypoint = "",
				     .command = command,
				     .command_count = 3,
				     .rlimits = limits,
				     .rlimit_count = 2,
				     .root_disk = { .kind = ROOT_DISK_FILE, .path = "/x.qcow2", .qcow2 = true },
				     .labels = labels,
				     .label_count = 2,
				     .tmpfs = tmpfs,
				     .tmpfs_count = 2,
				     .mkdirs = mkdirs,
				     .mkdir_count = 2,
				     .removes = removes,
				     .remove_count = 1,
				     .init = "auto",
				     .init_args = args,
				     .init_arg_count = 1,
				     .init_env = init_env,
				     .init_env_count = 1,
				     .restricted = true,
				     .max_duration_s = 3600,
				     .idle_timeout_s = 60,
				     .hypervisor = HYPERVISOR_CHOICE_QEMU,
				     .net = &net };
	char *text, *again;
	const struct run_spec *s = &got.spec;

	(void)state;
	assert_true(net_spec_default(&net));
	text = sandbox_json_encode(&in, 1234567890123456789, NULL);
	assert_non_null(text);
	assert_int_equal(sandbox_json_decode(text, &got, NULL), 0);
	assert_int_equal(got.created_ns, 1234567890123456789);
	assert_string_equal(s->name, in.name);
	assert_string_equal(s->image, in.image);
	assert_string_equal(s->digest, in.digest);
	assert_int_equal(s->memory_mib, 128);
	assert_int_equal(s->cpus, 3);
	same_words(s->env, s->env_count, env, 2);
	same_words((const char *const *)(uintptr_t)s->command, s->command_count, (const char *const *)command, 3);
	same_words(s->labels, s->label_count, labels, 2);
	same_words(s->mkdirs, s->mkdir_count, mkdirs, 2);
	same_words(s->removes, s->remove_count, removes, 1);
	same_words(s->init_args, s->init_arg_count, args, 1);
	same_words(s->init_env, s->init_env_count, init_env, 1);
	assert_string_equal(s->entrypoint, "");
	assert_int_equal(s->rlimit_count, 2);
	for (size_t i = 0; i < 2; i++)
		assert_true(s->rlimits[i].resource == limits[i].resource && s->rlimits[i].soft == limits[i].soft &&
			    s->rlimits[i].hard == limits[i].hard);
	assert_int_equal(s->tmpfs_count, 2);
	assert_string_equal(s->tmpfs[0].path, "/t");
	assert_true(s->tmpfs[0].bytes == MIB(5) && s->tmpfs[0].mode == 01777 && s->tmpfs[0].noexec &&
		    !s->tmpfs[0].read_only && s->tmpfs[1].read_only && s->tmpfs[1].nosuid && s->tmpfs[1].nodev);
	assert_true(s->root_disk.kind == ROOT_DISK_FILE && s->root_disk.qcow2 &&
		    strcmp(s->root_disk.path, "/x.qcow2") == 0);
	assert_true(s->restricted && s->max_duration_s == 3600 && s->idle_timeout_s == 60 &&
		    s->hypervisor == HYPERVISOR_CHOICE_QEMU);
	again = sandbox_json_encode(s, got.created_ns, NULL);
	assert_string_equal(again, text);
	sandbox_json_free(&got);
	net_spec_free(&net);
	free(again);
	free(text);
}

static void defaults_are_left_out(void **state)
{
	char *text = sandbox_json_encode(&(struct run_spec){ .name = "a", .image = "b" }, 1, NULL);

	(void)state;
	assert_int_equal(sandbox_json_decode(text, &got, NULL), 0);
	assert_int_equal(got.spec.memory_mib, RUN_MEMORY_MIB);
	assert_int_equal(got.spec.cpus, 1);
	assert_null(got.spec.entrypoint);
	assert_null(strstr(text, "root_disk"));
	assert_null(strstr(text, "restricted"));
	sandbox_json_free(&got);
	free(text);
}

/** words() - A list of the network's. */
static struct net_words words(const char *a, const char *b)
{
	struct net_words w = { 0 };

	assert_true(net_words_add(&w, a) && net_words_add(&w, b));
	return w;
}

static void networks_come_back(void **state)
{
	struct net_spec in = { .allow_egress = true,
			       .strict = true,
			       .no_rebind_protection = true,
			       .dns_timeout_ms = 700,
			       .max_connections = 4096,
			       .mtu = 9000,
			       .rates.of[RATE_EGRESS][RATE_BYTES] = { 1 << 20, 5, 1000 },
			       .rates.of[RATE_INGRESS][RATE_PACKETS] = { 100, 0, 60000 },
			       .port_count = 2,
			       .pcap = strdup("/tmp/x.pcapng") };
	const struct net_spec *n = &got.net;
	char *text, *again;

	(void)state;
	in.rules = words("deny@10.0.0.0/8", "allow@suffix=example.com:tcp:443");
	in.block_domains = words("a.test", "b.test");
	in.block_suffixes = words("c.test", "d");
	in.nameservers = words("1.1.1.1:54", "dns.test");
	in.ports = calloc(2, sizeof(*in.ports));
	assert_int_equal(net_port_parse("[::1]:8080:80/udp", &in.ports[0], NULL), 0);
	assert_int_equal(net_port_parse("0.0.0.0:22:2222", &in.ports[1], NULL), 0);
	text = sandbox_json_encode(&(struct run_spec){ .name = "a", .image = "b", .net = &in }, 1, NULL);
	assert_non_null(text);
	assert_int_equal(sandbox_json_decode(text, &got, NULL), 0);
	assert_ptr_equal(got.spec.net, n);
	assert_true(n->allow_egress && !n->allow_ingress && n->strict && n->no_rebind_protection && !n->none);
	assert_true(n->dns_timeout_ms == 700 && n->max_connections == 4096 && n->mtu == 9000);
	same_words((const char *const *)n->rules.item, n->rules.count, (const char *const *)in.rules.item, 2);
	same_words((const char *const *)n->nameservers.item, n->nameservers.count,
		   (const char *const *)in.nameservers.item, 2);
	assert_memory_equal(&n->rates, &in.rates, sizeof(in.rates));
	assert_int_equal(n->port_count, 2);
	assert_memory_equal(n->ports, in.ports, 2 * sizeof(*in.ports));
	assert_string_equal(n->pcap, in.pcap);
	again = sandbox_json_encode(&got.spec, got.created_ns, NULL);
	assert_string_equal(again, text);
	sandbox_json_free(&got);
	net_spec_free(&in);
	free(again);
	free(text);

	in.none = true;
	text = sandbox_json_encode(&(struct run_spec){ .name = "a", .image = "b", .net = &in }, 1, NULL);
	assert_int_equal(sandbox_json_decode(text, &got, NULL), 0);
	assert_true(got.spec.net->none);
	sandbox_json_free(&got);
	free(text);
}

/* Of before there was a network: the default one. */
static void without_a_network(void **state)
{
	(void)state;
	assert_int_equal(
		sandbox_json_decode("{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{}}", &got, NULL), 0);
	assert_int_equal(got.spec.net->rules.count, 2);
	assert_string_equal(got.spec.net->rules.item[1], "allow@public");
	assert_true(!got.spec.net->none && !got.spec.net->allow_egress && got.spec.net->mtu == NET_MTU);
	sandbox_json_free(&got);
}

static void damaged_networks(void **state)
{
	static const char *const bad[] = {
		"7",
		"[]",
		"{\"none\":1}",
		"{\"rules\":\"x\"}",
		"{\"rules\":[1]}",
		"{\"rules\":[\"allow@publik\"]}",
		"{\"egress\":true}",
		"{\"egress\":\"maybe\"}",
		"{\"strict\":\"yes\"}",
		"{\"mtu\":100}",
		"{\"mtu\":65521}",
		"{\"mtu\":-1}",
		"{\"max_connections\":0}",
		"{\"max_connections\":4097}",
		"{\"dns_timeout_ms\":0}",
		"{\"dns_timeout_ms\":99999999999}",
		"{\"ports\":{}}",
		"{\"ports\":[1]}",
		"{\"ports\":[\"0:0\"]}",
		"{\"nameservers\":[\"1.1.1\"]}",
		"{\"block_domains\":[\"a..b\"]}",
		"{\"pcap\":\"x\"}",
		"{\"pcap\":1}",
		"{\"rates\":[]}",
		"{\"rates\":{\"egress_ops\":{}}}",
		"{\"rates\":{\"egress_ops\":{\"amount\":1,\"burst\":0,\"interval_ms\":0}}}",
	};
	char text[200];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(text, sizeof(text),
			 "{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"network\":%s}}", bad[i]);
		if (sandbox_json_decode(text, &got, NULL) != -ERR_INVALID)
			fail_msg("taken: %s", bad[i]);
	}
}

static void text_that_is_no_utf8(void **state)
{
	const struct run_spec specs[] = {
		{ .name = "a", .image = "b", .workdir = "/\xff" },
		{ .name = "a", .image = "b", .env = (const char *[]){ "A=\xc3" }, .env_count = 1 }
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
		struct error err = ERROR_INIT;

		assert_null(sandbox_json_encode(&specs[i], 1, &err));
		assert_int_equal(err.code, ERR_INVALID);
	}
}

static void damaged_ones(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"null",
		"{}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\"}",
		"{\"version\":1,\"name\":\"a\",\"config\":{}}",
		"{\"version\":1,\"image\":\"a\",\"config\":{}}",
		"{\"version\":1,\"name\":5,\"image\":\"b\",\"config\":{}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":[]}",
		"{\"version\":1,\"name\":\"a\",\"name\":\"c\",\"image\":\"b\",\"config\":{}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{}} x",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"created_ns\":-1,\"config\":{}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"cpus\":\"2\"}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"cpus\":-1}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"memory_mib\":99999999999}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"env\":\"A=1\"}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"env\":[\"A=1\",2]}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"restricted\":1}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"hypervisor\":\"xen\"}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"root_disk\":{\"kind\":\"?\"}}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"root_disk\":7}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"tmpfs\":[{}]}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"tmpfs\":{\"path\":\"/t\"}}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"rlimits\":{\"nofile\":[1]}}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"rlimits\":{\"nofile\":[1,\"2\"]}}}",
		"{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"config\":{\"rlimits\":[]}}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct error err = ERROR_INIT;

		if (sandbox_json_decode(bad[i], &got, &err) != -ERR_INVALID)
			fail_msg("taken: %s", bad[i]);
		assert_true(err.text[0]);
	}
}

/* The text of one, cut anywhere: refused, or (its last line end) the same. */
static void cut_ones(void **state)
{
	char *text = sandbox_json_encode(&(struct run_spec){ .name = "a", .image = "b" }, 1, NULL);
	size_t n = strlen(text);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		char *part = strndup(text, i);

		assert_int_equal(sandbox_json_decode(part, &got, NULL), -ERR_INVALID);
		free(part);
	}
	free(text);
}

static void of_a_newer_msb(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(
		sandbox_json_decode("{\"version\":2,\"name\":\"a\",\"image\":\"b\",\"config\":{}}", &got, &err),
		-ERR_UNSUPPORTED);
	/* Keys of a newer one of the same version are passed over. */
	assert_int_equal(
		sandbox_json_decode("{\"version\":1,\"name\":\"a\",\"image\":\"b\",\"x\":1,\"config\":{\"y\":[]}}",
				    &got, &err),
		0);
	sandbox_json_free(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_comes_back), cmocka_unit_test(defaults_are_left_out),
		cmocka_unit_test(networks_come_back),	 cmocka_unit_test(without_a_network),
		cmocka_unit_test(damaged_networks),	 cmocka_unit_test(text_that_is_no_utf8),
		cmocka_unit_test(damaged_ones),		 cmocka_unit_test(cut_ones),
		cmocka_unit_test(of_a_newer_msb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
