/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the rules of the network (src/net/policy) for a test: each line of standard input is a JSON object with a
 * policy, what a gateway would know, and questions; each line of output has the answers. See test_net_policy.py.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/policy/policy.h"

#define LIST_MAX 64

static const char *const verdicts[] = { [POLICY_DENY] = "deny", [POLICY_ALLOW] = "allow", [POLICY_NEED_NAME] = "name" };
static const char *const states[] = {
	[POLICY_NAME_UNSEEN] = "unseen", [POLICY_NAME_NONE] = "none", [POLICY_NAME_SEEN] = "seen"
};

/** fail() - The test wrote something wrong. */
_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "policy_ask: %s\n", what);
	exit(2);
}

/** address() - Of a text in JSON. */
static struct ip address(const json_t *from)
{
	struct ip ip;

	if (!json_is_string(from) || !ip_parse(json_string_value(from), &ip))
		fail("no address");
	return ip;
}

/** is_host() - In the list "hosts". @ctx: the whole line */
static bool is_host(void *ctx, const struct ip *ip)
{
	const json_t *hosts = json_object_get(ctx, "hosts");

	for (size_t i = 0; i < json_array_size(hosts); i++) {
		struct ip host = address(json_array_get(hosts, i));

		if (ip_equal(&host, ip))
			return true;
	}
	return false;
}

/** has_name() - In the list "records" of [address, name]. */
static bool has_name(void *ctx, const struct ip *ip, const char *name, bool below, bool allows)
{
	const json_t *records = json_object_get(ctx, "records");

	(void)allows;
	for (size_t i = 0; i < json_array_size(records); i++) {
		const json_t *record = json_array_get(records, i);
		struct ip of = address(json_array_get(record, 0));
		const char *had = json_string_value(json_array_get(record, 1));
		size_t n = strlen(had), want = strlen(name);

		if (!ip_equal(&of, ip) || n < want || strcmp(had + n - want, name) != 0)
			continue;
		if (n == want || (below && had[n - want - 1] == '.'))
			return true;
	}
	return false;
}

/** words() - A list of texts, borrowed. */
static size_t words(const json_t *line, const char *key, const char *out[LIST_MAX])
{
	const json_t *list = json_object_get(line, key);
	size_t n = json_array_size(list);

	if (n > LIST_MAX)
		fail("list too long");
	for (size_t i = 0; i < n; i++)
		out[i] = json_string_value(json_array_get(list, i));
	return n;
}

/** flow() - One connection: [verdict, rule]. */
static json_t *flow(const struct policy *p, json_t *line, const json_t *one)
{
	const struct policy_facts facts = { is_host, has_name, line };
	const char *state = json_string_value(json_object_get(one, "state"));
	const char *protocol = json_string_value(json_object_get(one, "protocol"));
	struct policy_flow f = { .direction =
					 json_is_true(json_object_get(one, "ingress")) ? POLICY_INGRESS : POLICY_EGRESS,
				 .ip = address(json_object_get(one, "address")),
				 .port = (uint16_t)json_integer_value(json_object_get(one, "port")),
				 .name = json_string_value(json_object_get(one, "name")) };
	struct policy_decision d;

	while (f.protocol < POLICY_PROTOCOL_COUNT && strcmp(policy_protocol_name(f.protocol), protocol) != 0)
		f.protocol++;
	while (f.name_state < POLICY_NAME_SEEN && strcmp(states[f.name_state], state) != 0)
		f.name_state++;
	policy_decide(p, &f, &facts, &d);
	return json_pack("[s,i]", verdicts[d.verdict], d.rule);
}

/** question() - One name: [verdict, rule]. */
static json_t *question(const struct policy *p, const json_t *one)
{
	struct policy_decision d;

	policy_decide_question(p,
			       strcmp(json_string_value(json_array_get(one, 0)), "tcp") == 0 ? POLICY_TCP : POLICY_UDP,
			       json_string_value(json_array_get(one, 1)), &d);
	return json_pack("[s,i]", verdicts[d.verdict], d.rule);
}

/** answer() - To a line. */
static json_t *answer(json_t *line)
{
	const char *rules[LIST_MAX], *domains[LIST_MAX], *suffixes[LIST_MAX];
	const struct policy_facts facts = { is_host, has_name, line };
	struct policy_source s = { .rules = rules, .block_domains = domains, .block_suffixes = suffixes };
	json_t *out = json_object(), *flows = json_array(), *questions = json_array(), *answers = json_array(), *one;
	struct error err = ERROR_INIT;
	struct policy *p;
	size_t i;

	s.rule_count = words(line, "rules", rules);
	s.block_domain_count = words(line, "blocked", domains);
	s.block_suffix_count = words(line, "suffixes", suffixes);
	s.allow_egress = json_is_true(json_object_get(line, "egress"));
	s.allow_ingress = json_is_true(json_object_get(line, "ingress"));
	s.strict = json_is_true(json_object_get(line, "strict"));
	s.multi_tenant = json_is_true(json_object_get(line, "tenants"));
	p = policy_new(&s, &err);
	if (!p)
		json_object_set_new(out, "error", json_string(err.text));
	json_array_foreach(p ? json_object_get(line, "flows") : NULL, i, one)
		json_array_append_new(flows, flow(p, line, one));
	json_array_foreach(p ? json_object_get(line, "questions") : NULL, i, one)
		json_array_append_new(questions, question(p, one));
	json_array_foreach(p ? json_object_get(line, "answers") : NULL, i, one)
	{
		struct ip ip = address(one);

		json_array_append_new(answers, json_boolean(policy_allows_answer(p, &ip, &facts)));
	}
	policy_free(p);
	json_object_set_new(out, "flows", flows);
	json_object_set_new(out, "questions", questions);
	json_object_set_new(out, "answers", answers);
	return out;
}

int main(void)
{
	json_error_t why;
	json_t *line;

	while ((line = json_loadf(stdin, JSON_DISABLE_EOF_CHECK, &why))) {
		json_t *out = answer(line);

		json_dumpf(out, stdout, JSON_COMPACT);
		printf("\n");
		json_decref(out);
		json_decref(line);
	}
	return ferror(stdout) || !feof(stdin);
}
