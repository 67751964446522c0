/* SPDX-License-Identifier: Apache-2.0 */
#include "net/policy/profile.h"

#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "base/nearest.h"

/* Words of --net and the rules that they stand for; all and none are defaults instead, and stand alone. */
static const char *const words[] = { "public", "private", "host", "all", "none" };
static const char *const word_rules[] = { "allow@public", "allow@private", "allow@host" };

/** What is being put together: the rules typed, then DNS, then groups. */
struct making {
	const char *rules[POLICY_RULES_MAX + 1 + ARRAY_LEN(word_rules)];
	struct policy_source source;
};

/** add() - A rule behind the others. */
static void add(struct making *m, const char *rule)
{
	m->rules[m->source.rule_count++] = rule;
}

/** check_conflicts() - Options that say the same thing twice. */
static int check_conflicts(const struct policy_choice *c, struct error *err)
{
	const char *fallback = c->fallback  ? "--net-default"
			       : c->egress  ? "--net-default-egress"
			       : c->ingress ? "--net-default-ingress"
					    : NULL;
	const char *a = c->groups ? "--net" : NULL, *b = c->no_net ? "--no-net" : fallback;

	if (!a && c->no_net) {
		a = "--no-net";
		b = fallback;
	}
	if (!a && c->fallback) {
		a = "--net-default";
		b = c->egress ? "--net-default-egress" : c->ingress ? "--net-default-ingress" : NULL;
	}
	if (a && b)
		return err_set(err, ERR_USAGE, 0, "%s and %s exclude each other", a, b);
	return 0;
}

/** add_groups() - --net. */
static int add_groups(struct making *m, const char *list, struct error *err)
{
	bool given[ARRAY_LEN(words)] = { false };
	const char *near;
	char word[16];

	for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
		size_t n = strcspn(at, ","), i = 0;

		snprintf(word, sizeof(word), "%.*s", (int)MIN(n, sizeof(word) - 1), at);
		while (i < ARRAY_LEN(words) && (strcmp(words[i], word) != 0 || strlen(words[i]) != n))
			i++;
		if (i == ARRAY_LEN(words)) {
			near = nearest(word, words, ARRAY_LEN(words));
			return err_set(err, ERR_USAGE, 0,
				       "--net: \"%.*s\" is not public, private, host, all or none%s%s%s",
				       (int)MIN(n, (size_t)60), at, near ? "; did you mean \"" : "", near ? near : "",
				       near ? "\"?" : "");
		}
		if (given[i])
			return err_set(err, ERR_USAGE, 0, "--net: \"%s\" was given twice", word);
		if (i >= ARRAY_LEN(word_rules) && n != strlen(list))
			return err_set(err, ERR_USAGE, 0, "--net: \"%s\" stands alone", word);
		given[i] = true;
		m->source.allow_egress = strcmp(word, "all") == 0;
		m->source.allow_ingress = strcmp(word, "none") != 0;
	}
	if (given[0] || given[1] || given[2])
		add(m, "allow@dns");
	/* In the order that was typed: disjoint, but people look for it. */
	for (const char *at = list; at && m->source.rule_count; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		for (size_t i = 0; i < ARRAY_LEN(word_rules); i++)
			if (strncmp(at, words[i], strlen(words[i])) == 0 && given[i])
				add(m, word_rules[i]);
	return 0;
}

/** says() - A default as typed. */
static bool says(const char *given, bool otherwise)
{
	return given ? strcmp(given, "allow") == 0 : otherwise;
}

struct policy *policy_choose(const struct policy_choice *c, struct error *err)
{
	bool plain = !c->groups && !c->no_net && !c->fallback && !c->egress && !c->ingress && c->rule_count == 0;
	struct making m = { .source = { .allow_ingress = true, .strict = c->strict } };
	struct policy *p;

	if (check_conflicts(c, err) < 0)
		return NULL;
	if (c->rule_count > POLICY_RULES_MAX) {
		err_set(err, ERR_USAGE, 0, "--net-rule: given more than %d times", POLICY_RULES_MAX);
		return NULL;
	}
	for (size_t i = 0; i < c->rule_count; i++)
		add(&m, c->rules[i]);
	if (plain || c->groups) {
		if (add_groups(&m, plain ? "public" : c->groups, err) < 0)
			return NULL;
	} else {
		m.source.allow_egress = says(c->egress ? c->egress : c->fallback, false);
		m.source.allow_ingress = says(c->ingress ? c->ingress : c->fallback, !c->no_net);
	}
	m.source.rules = m.rules;
	p = policy_new(&m.source, err);
	if (!p)
		err_wrap(err, "--net-rule");
	return p;
}
