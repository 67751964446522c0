/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A bad wire between a TAP and the gateway: frames are lost, swapped, doubled, delayed and damaged, in both directions,
 * by a seed. A process of its own, which ends with the gateway's socket.
 */
#ifndef MSB_TESTS_GATEWAY_RELAY_H
#define MSB_TESTS_GATEWAY_RELAY_H

#include <stdbool.h>
#include <stdint.h>

struct relay_options {
	bool on;
	uint64_t seed;
	/* Of 1,000 frames */
	uint32_t loss, reorder, duplicate, flip;
	uint32_t delay_ms, jitter_ms;
};

/** relay_parse() - seed=1,loss=10,reorder=50,duplicate=10,flip=1,delay=50,jitter=10 */
bool relay_parse(const char *s, struct relay_options *o);
/** relay_start() - @tap: taken. Return: what takes the TAP's place. */
int relay_start(int tap, const struct relay_options *o);

#endif
