/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rfc3339.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/reader.h"

/** digits() - A number of exactly so many of them, from low to high. */
static int digits(struct reader *r, int count, int low, int high)
{
	int v = 0;

	while (count--) {
		uint8_t c = reader_u8(r);

		if (c < '0' || c > '9')
			r->failed = true;
		v = v * 10 + (c - '0');
	}
	if (v < low || v > high)
		r->failed = true;
	return r->failed ? 0 : v;
}

/** expect() - One of these characters. Return: which. */
static char expect(struct reader *r, const char *set)
{
	uint8_t c = reader_u8(r);

	if (!c || !strchr(set, c))
		r->failed = true;
	return (char)c;
}

/** fraction() - ".5" in nanoseconds; digits beyond the ninth count for nothing. */
static int64_t fraction(struct reader *r)
{
	int64_t unit = NSEC_PER_SEC, ns = 0;

	if (!r->left || r->p[0] != '.')
		return 0;
	reader_u8(r);
	ns = digits(r, 1, 0, 9) * (unit /= 10);
	while (!r->failed && r->left && r->p[0] >= '0' && r->p[0] <= '9')
		ns += digits(r, 1, 0, 9) * (unit /= 10);
	return ns;
}

bool rfc3339_parse(const char *text, size_t n, int64_t *ns)
{
	static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	struct reader r = reader_init(text, n);
	struct tm tm = { .tm_year = digits(&r, 4, 1970, 2199) - 1900 };
	int64_t part, offset = 0;
	bool leap;
	char sign;

	expect(&r, "-");
	tm.tm_mon = digits(&r, 2, 1, 12) - 1;
	expect(&r, "-");
	tm.tm_mday = digits(&r, 2, 1, 31);
	expect(&r, "Tt ");
	tm.tm_hour = digits(&r, 2, 0, 23);
	expect(&r, ":");
	tm.tm_min = digits(&r, 2, 0, 59);
	expect(&r, ":");
	tm.tm_sec = digits(&r, 2, 0, 60); /* a leap second is the next one */
	part = fraction(&r);
	sign = expect(&r, "Zz+-");
	if (sign == '+' || sign == '-') {
		offset = digits(&r, 2, 0, 23) * 3600;
		expect(&r, ":");
		offset += digits(&r, 2, 0, 59) * 60;
	}
	if (r.failed || r.left)
		return false;
	leap = tm.tm_year % 4 == 0 && (tm.tm_year % 100 != 0 || (tm.tm_year + 1900) % 400 == 0);
	if (tm.tm_mday > lengths[tm.tm_mon] + (tm.tm_mon == 1 && leap))
		return false;
	*ns = ((int64_t)timegm(&tm) - (sign == '-' ? -offset : offset)) * NSEC_PER_SEC + part;
	return true;
}

const char *rfc3339_text(int64_t ns, char to[RFC3339_SIZE])
{
	time_t seconds = (time_t)(ns / NSEC_PER_SEC);
	char when[24];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(to, RFC3339_SIZE, "%s.%06u+00:00", when, (unsigned int)(ns % NSEC_PER_SEC / 1000));
	return to;
}
