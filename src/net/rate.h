/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Token buckets: so much in an interval, filled evenly, never more than one interval's worth at once; besides, once, a
 * burst that is used up first. What is taken may be more than there is: then the bucket is in debt and the next one
 * waits for longer, so that the average holds whatever the size of a frame.
 */
#ifndef MSB_NET_RATE_H
#define MSB_NET_RATE_H

#include <stdint.h>

#define RATE_AMOUNT_MAX (1ull << 46) /* with RATE_INTERVAL_MS_MAX nothing overflows 128 bits; 64 TiB */
#define RATE_INTERVAL_MS_MAX 86400000

/** A limit as asked for; amount 0: none. */
struct rate {
	uint64_t amount, burst; /* bytes or packets */
	uint32_t interval_ms;	/* 1..RATE_INTERVAL_MS_MAX */
};

enum rate_direction { RATE_EGRESS, RATE_INGRESS, RATE_DIRECTIONS };
enum rate_kind { RATE_BYTES, RATE_PACKETS, RATE_KINDS };

/** Those of a sandbox. */
struct rates {
	struct rate of[RATE_DIRECTIONS][RATE_KINDS];
};

/** A limit at work. */
struct bucket {
	struct rate rate;
	int64_t tokens; /* negative: debt */
	uint64_t burst; /* what is left of it */
	int64_t at_ns;	/* up to when it was filled */
};

/** bucket_init() - Full. */
void bucket_init(struct bucket *b, const struct rate *rate, int64_t now_ns);
/** bucket_wait() - Return: 0 when something may be taken, else nanoseconds until then. */
int64_t bucket_wait(struct bucket *b, int64_t now_ns);
/** bucket_take() - @amount: below 2^32. */
void bucket_take(struct bucket *b, uint64_t amount);

#endif
