/* SPDX-License-Identifier: Apache-2.0 */
/** The gateway's resolver with resolvers on loopback in one loop: what the tests of src/net/dns/ begin and end with. */
#ifndef MSB_TESTS_DNS_WORLD_H
#define MSB_TESTS_DNS_WORLD_H

#include "base/clock.h"
#include "base/macros.h"
#include "dns_peers.h"
#include "net/dns/dns.h"

#define FAIL_AFTER_NS (50 * NSEC_PER_SEC)
#define ANSWERS_MAX 1200

/** What the guest was told. */
struct told {
	bool done;
	size_t length;
	uint8_t *message;
	uint64_t token;
	uint64_t cancels; /* this token when told */
};

static struct loop *loop;
static struct dns *dns;
static struct peer peers[3];
static struct told told[ANSWERS_MAX];
static unsigned int told_count, wait_for;
static int watchdog, alarm_clock;

static const struct rr one_address[] = { { "@", DNS_A, 300, "9.9.9.1" } };

static inline void on_watchdog(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	fail_msg("nothing happens");
}

static inline void on_alarm(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	loop_stop(loop, 0);
}

static inline int start(void **state)
{
	(void)state;
	loop = loop_new(NULL);
	watchdog = loop_timer(loop, on_watchdog, NULL, NULL);
	alarm_clock = loop_timer(loop, on_alarm, NULL, NULL);
	loop_timer_set(loop, watchdog, FAIL_AFTER_NS);
	for (unsigned int i = 0; i < ARRAY_LEN(peers); i++) {
		peer_start(&peers[i], loop, AF_INET, peer_records);
		peers[i].records = one_address;
		peers[i].record_count = 1;
	}
	return 0;
}

static inline void forget(void)
{
	for (unsigned int i = 0; i < ANSWERS_MAX; i++)
		free(told[i].message);
	memset(told, 0, sizeof(told));
	told_count = 0;
}

static inline int stop(void **state)
{
	(void)state;
	dns_free(dns);
	dns = NULL;
	for (unsigned int i = 0; i < ARRAY_LEN(peers); i++)
		peer_stop(&peers[i]);
	loop_free(loop);
	forget();
	return 0;
}

/** begin() - The resolver, with the first @upstreams peers. @config: NULL for the usual */
static inline void begin(unsigned int upstreams, const struct dns_config *config, const struct dns_ops *ops)
{
	struct dns_config c = { .timeout_ms = 400, .rebind_protection = true, .v4 = true, .v6 = true };
	struct endpoint at[ARRAY_LEN(peers)];
	struct error err = ERROR_INIT;

	if (config)
		c = *config;
	for (unsigned int i = 0; i < upstreams; i++)
		at[i] = peers[i].at;
	c.upstreams = at;
	c.upstream_count = upstreams;
	if (!c.timeout_ms)
		c.timeout_ms = 400;
	dns = dns_new(loop, &c, ops, NULL, &err);
	assert_non_null(dns);
}

static inline void on_answer(void *arg, const uint8_t *message, size_t length)
{
	struct told *t = arg;

	assert_false(t->done);
	t->done = true;
	t->length = length;
	t->message = malloc(length + 1);
	if (length)
		memcpy(t->message, message, length);
	told_count++;
	if (t->cancels)
		dns_cancel(dns, t->cancels);
	if (told_count == wait_for)
		loop_stop(loop, 0);
}

/** ask_message() - As the guest. */
static inline struct told *ask_message(unsigned int slot, const struct build *m, enum dns_via via, const struct endpoint *to)
{
	struct told *t = &told[slot];

	t->token = dns_ask(dns, m->b, m->n, to, via, on_answer, t);
	/* A token is given just when the answer is still to come. */
	assert_int_equal(t->token == 0, t->done);
	return t;
}

static inline struct told *ask(unsigned int slot, const char *name, uint16_t type)
{
	static struct build m;

	build_start(&m, (uint16_t)(slot + 1), DNS_FLAG_RD, name, type);
	return ask_message(slot, &m, DNS_UDP, NULL);
}

static inline struct told *ask_edns(unsigned int slot, const char *name, uint16_t type, uint16_t size, enum dns_via via)
{
	static struct build m;

	build_start(&m, (uint16_t)(slot + 1), DNS_FLAG_RD, name, type);
	build_record(&m, 3, &(struct rr){ "", DNS_OPT, 0, "", 0, size });
	return ask_message(slot, &m, via, NULL);
}

/** wait_until() - So many answers in all. */
static inline void wait_until(unsigned int count)
{
	wait_for = count;
	while (told_count < count)
		assert_int_equal(loop_run(loop, NULL), 0);
	wait_for = 0;
}

/** pass() - Let this time go by. */
static inline void pass(int64_t ns)
{
	loop_timer_set(loop, alarm_clock, ns);
	loop_run(loop, NULL);
}

static inline const char *text_of(const struct told *t)
{
	assert_true(t->done);
	assert_int_equal(t->message[0] << 8 | t->message[1], t - told + 1);
	return show(t->message, t->length);
}

/** answer_to() - Ask and wait, in slot 0. Return: show() of the answer. */
static inline const char *answer_to(const char *name, uint16_t type)
{
	struct told *t = ask((forget(), 0), name, type);

	wait_until(1);
	return text_of(t);
}

static inline struct dns_counts counts(void)
{
	struct dns_counts c;

	dns_counts(dns, &c);
	return c;
}

static inline bool named(const char *ip, const char *name, enum dns_match match, enum dns_trust trust)
{
	struct ip at;

	assert_true(ip_parse(ip, &at));
	return dns_named(dns, &at, name, match, trust);
}

#endif
