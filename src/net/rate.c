/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rate.h"

#include "base/clock.h"
#include "base/macros.h"

/** interval_ns() - Of a limit. */
static int64_t interval_ns(const struct bucket *b)
{
	return b->rate.interval_ms * NSEC_PER_MSEC;
}

void bucket_init(struct bucket *b, const struct rate *rate, int64_t now_ns)
{
	*b = (struct bucket){ .rate = *rate, .tokens = (int64_t)rate->amount, .burst = rate->burst, .at_ns = now_ns };
}

/** fill() - By the time that has passed; what does not make a whole token is kept as time. */
static void fill(struct bucket *b, int64_t now_ns)
{
	int64_t passed = MAX(now_ns - b->at_ns, 0), interval = interval_ns(b), full = (int64_t)b->rate.amount, more;

	more = (int64_t)((unsigned __int128)passed * b->rate.amount / (uint64_t)interval);
	if (more >= full - b->tokens) {
		b->tokens = full;
		b->at_ns = now_ns;
		return;
	}
	b->tokens += more;
	b->at_ns += (int64_t)((unsigned __int128)more * (uint64_t)interval / b->rate.amount);
}

int64_t bucket_wait(struct bucket *b, int64_t now_ns)
{
	if (!b->rate.amount || b->burst)
		return 0;
	fill(b, now_ns);
	if (b->tokens > 0)
		return 0;
	/* Until there is one token, rounded up. */
	return b->at_ns - now_ns + 1 +
	       (int64_t)((unsigned __int128)(1 - b->tokens) * (uint64_t)interval_ns(b) / b->rate.amount);
}

void bucket_take(struct bucket *b, uint64_t amount)
{
	uint64_t once = MIN(amount, b->burst);

	if (!b->rate.amount)
		return;
	b->burst -= once;
	b->tokens -= (int64_t)(amount - once);
}
