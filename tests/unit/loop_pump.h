/* SPDX-License-Identifier: Apache-2.0 */
/** A loop that only runs while a test waits for it. */
#ifndef MSB_TESTS_LOOP_PUMP_H
#define MSB_TESTS_LOOP_PUMP_H

#include "base/loop.h"

static void loop_pump_stop(void *arg, uint32_t events)
{
	(void)events;
	loop_stop(arg, 0);
}

/** loop_pump() - Let the loop handle what is ready, so many times: what is done may make more ready. */
static inline void loop_pump(struct loop *loop, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		int timer = loop_timer(loop, loop_pump_stop, loop, NULL);

		loop_timer_set(loop, timer, 0);
		loop_run(loop, NULL);
		loop_remove(loop, &timer);
	}
}

#endif
