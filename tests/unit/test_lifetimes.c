/* SPDX-License-Identifier: Apache-2.0 */
/* When a sandbox is over by itself, on clocks that the test sets: each row of contract 5.3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "sandbox/lifetimes.h"

#define S(n) ((int64_t)(n) * NSEC_PER_SEC)

/** made() - One with limits, whose agent was ready at these times. */
static struct lifetimes made(int64_t idle_s, int64_t max_s, int64_t monotonic_s, int64_t boottime_s)
{
	struct lifetimes l = { .idle_ns = S(idle_s), .max_ns = S(max_s) };

	lifetimes_start(&l, S(monotonic_s), S(boottime_s));
	return l;
}

static void idle_counts_from_ready(void **state)
{
	struct lifetimes l = made(3, 0, 100, 5000);

	(void)state;
	assert_int_equal(lifetimes_idle_left(&l, S(100)), S(3));
	assert_int_equal(lifetimes_idle_left(&l, S(102)), S(1));
	assert_int_equal(lifetimes_idle_left(&l, S(103)), 0);
	assert_int_equal(lifetimes_idle_left(&l, S(110)), S(-7));
}

static void no_limit_is_for_ever(void **state)
{
	struct lifetimes l = made(0, 0, 100, 5000);

	(void)state;
	assert_int_equal(lifetimes_idle_left(&l, S(1000000)), LIFETIME_NEVER);
	assert_int_equal(lifetimes_max_left(&l, S(1000000)), LIFETIME_NEVER);
}

static void open_session_is_never_idle(void **state)
{
	struct lifetimes l = made(3, 0, 100, 0);

	(void)state;
	lifetimes_session(&l, 1, S(101));
	assert_int_equal(lifetimes_idle_left(&l, S(1000)), LIFETIME_NEVER);
	lifetimes_session(&l, 1, S(1000));
	lifetimes_session(&l, -1, S(1001));
	assert_int_equal(lifetimes_idle_left(&l, S(2000)), LIFETIME_NEVER); /* the first is still there */
	lifetimes_session(&l, -1, S(2000));
	assert_int_equal(lifetimes_idle_left(&l, S(2000)), S(3)); /* its end is activity */
	assert_int_equal(lifetimes_idle_left(&l, S(2003)), 0);
}

static void beginning_a_session_is_activity(void **state)
{
	struct lifetimes l = made(3, 0, 100, 0);

	(void)state;
	lifetimes_session(&l, 1, S(102));
	lifetimes_session(&l, -1, S(102));
	assert_int_equal(lifetimes_idle_left(&l, S(104)), S(1));
}

static void touch_starts_idle_again(void **state)
{
	struct lifetimes l = made(3, 60, 100, 5000);

	(void)state;
	lifetimes_touch(&l, S(102));
	assert_int_equal(lifetimes_idle_left(&l, S(104)), S(1));
	assert_int_equal(lifetimes_max_left(&l, S(5002)), S(58)); /* and nothing else */
}

static void squeezed_once_a_minute_after_use(void **state)
{
	struct lifetimes l = made(0, 0, 100, 5000); /* whatever its limits */

	(void)state;
	assert_int_equal(lifetimes_squeeze_left(&l, S(101)), S(59));
	lifetimes_session(&l, 1, S(130));
	assert_int_equal(lifetimes_squeeze_left(&l, S(1000)), LIFETIME_NEVER);
	lifetimes_session(&l, -1, S(1000));
	assert_int_equal(lifetimes_squeeze_left(&l, S(1000)), S(60));
	assert_int_equal(lifetimes_squeeze_left(&l, S(1060)), 0);
	l.squeezed = true;
	assert_int_equal(lifetimes_squeeze_left(&l, S(1061)), LIFETIME_NEVER);
	lifetimes_touch(&l, S(1070));
	assert_int_equal(lifetimes_squeeze_left(&l, S(1071)), S(59));
	l.squeezed = true;
	lifetimes_session(&l, 1, S(1200));
	lifetimes_session(&l, -1, S(1201));
	assert_int_equal(lifetimes_squeeze_left(&l, S(1201)), S(60));
}

/* ping and metrics call nothing here: what is not told is no activity. */
static void asking_how_long_is_no_activity(void **state)
{
	struct lifetimes l = made(3, 9, 100, 5000);

	(void)state;
	for (int i = 0; i < 3; i++) {
		lifetimes_idle_left(&l, S(100 + i));
		lifetimes_max_left(&l, S(5000 + i));
	}
	assert_int_equal(lifetimes_idle_left(&l, S(103)), 0);
	assert_int_equal(lifetimes_max_left(&l, S(5003)), S(6));
}

static void max_counts_whatever_happens(void **state)
{
	struct lifetimes l = made(0, 3, 100, 5000);

	(void)state;
	lifetimes_session(&l, 1, S(101));
	assert_int_equal(lifetimes_max_left(&l, S(5002)), S(1));
	lifetimes_touch(&l, S(102));
	assert_int_equal(lifetimes_max_left(&l, S(5003)), 0);
	assert_true(lifetimes_max_left(&l, S(5004)) < 0);
}

/* The host slept for an hour: CLOCK_BOOTTIME went on, CLOCK_MONOTONIC did not. */
static void sleep_of_the_host_counts_for_max_only(void **state)
{
	struct lifetimes l = made(10, 600, 100, 5000);

	(void)state;
	assert_int_equal(lifetimes_idle_left(&l, S(101)), S(9));
	assert_true(lifetimes_max_left(&l, S(5000 + 3601)) < 0);
}

static void start_again_counts_from_zero(void **state)
{
	struct lifetimes l = made(3, 9, 100, 5000);

	(void)state;
	assert_true(lifetimes_idle_left(&l, S(200)) < 0);
	l = made(3, 9, 200, 5100);
	assert_int_equal(lifetimes_idle_left(&l, S(200)), S(3));
	assert_int_equal(lifetimes_max_left(&l, S(5100)), S(9));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_counts_from_ready),
		cmocka_unit_test(no_limit_is_for_ever),
		cmocka_unit_test(open_session_is_never_idle),
		cmocka_unit_test(beginning_a_session_is_activity),
		cmocka_unit_test(touch_starts_idle_again),
		cmocka_unit_test(squeezed_once_a_minute_after_use),
		cmocka_unit_test(asking_how_long_is_no_activity),
		cmocka_unit_test(max_counts_whatever_happens),
		cmocka_unit_test(sleep_of_the_host_counts_for_max_only),
		cmocka_unit_test(start_again_counts_from_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
