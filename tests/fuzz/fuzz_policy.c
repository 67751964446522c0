// SPDX-License-Identifier: Apache-2.0
// sources: src/net/policy/group.c src/net/policy/policy.c src/net/policy/rule.c src/net/policy/words.c src/net/ip.c
// sources: src/net/spec.c src/base/buf.c src/base/error.c src/base/log.c src/base/nearest.c src/base/num.c
/*
 * Fuzz what people type of the network: rules, published ports, name servers. What is accepted reads the same when its
 * shortest spelling is read again, and any flow gets a verdict. First byte: which of the three.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/policy/words.h"
#include "net/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** never() - No host's address, no name known. */
static bool never(void *ctx, const struct ip *ip)
{
	(void)ctx;
	(void)ip;
	return false;
}

/** rules() - A list of rules. */
static void rules(const char *text, const uint8_t *data, size_t size)
{
	const struct policy_facts facts = { .is_host = never };
	struct policy_source source = { .rules = &text, .rule_count = 1 };
	struct policy_flow flow = { .protocol = POLICY_TCP, .port = 443 };
	struct policy *p = policy_new(&source, NULL), *again;
	struct buf words = BUF_INIT(1 << 20);
	struct policy_decision d;
	const char *one;

	if (!p)
		return;
	for (size_t i = 0; i < policy_rule_count(p); i++) {
		one = policy_rule_text(p, i);
		source.rules = &one;
		again = policy_new(&source, NULL);
		if (!again || policy_rule_count(again) != 1 || strcmp(policy_rule_text(again, 0), one) != 0)
			abort();
		policy_free(again);
	}
	policy_words(p, 0, &words);
	if (words.failed)
		abort();
	buf_free(&words);
	memcpy(flow.ip.b, data, size < sizeof(flow.ip.b) ? size : sizeof(flow.ip.b));
	policy_decide(p, &flow, &facts, &d);
	if (d.verdict == POLICY_NEED_NAME && !policy_has_names(p))
		abort();
	flow.name_state = POLICY_NAME_SEEN;
	flow.name = text;
	policy_decide(p, &flow, &facts, &d);
	if (d.verdict == POLICY_NEED_NAME)
		abort();
	policy_decide_question(p, POLICY_UDP, text, &d);
	policy_allows_answer(p, &flow.ip, &facts);
	policy_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[600], shown[NET_PORT_TEXT_MAX];
	struct net_server server;
	struct net_port port;

	if (size == 0 || size > sizeof(text))
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	if (data[0] == 'p') {
		if (net_port_parse(text, &port, NULL) == 0 && strlen(net_port_format(&port, shown)) < 12)
			abort();
	} else if (data[0] == 's') {
		if (net_server_parse(text, &server, NULL) == 0 && server.port == 0)
			abort();
	} else {
		rules(text, data + 1, size - 1);
	}
	return 0;
}
