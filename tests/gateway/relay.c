/* SPDX-License-Identifier: Apache-2.0 */
#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/macros.h"
#include "base/num.h"

#define FRAME_MAX 65564
#define WAITING_MAX 16384 /* frames on the wire, each way; more are lost */
#define HEADERS 12
#define NEEDS_CSUM 1

struct frame {
	int64_t due;
	uint32_t len;
	uint8_t *data;
};

/** One direction: a heap by time. */
struct wire {
	int from, to;
	struct frame heap[WAITING_MAX];
	size_t count;
};

static struct relay_options options;
static uint64_t state;

bool relay_parse(const char *s, struct relay_options *o)
{
	static const struct {
		const char *name;
		size_t at;
	} fields[] = {
		{ "loss", offsetof(struct relay_options, loss) },
		{ "reorder", offsetof(struct relay_options, reorder) },
		{ "duplicate", offsetof(struct relay_options, duplicate) },
		{ "flip", offsetof(struct relay_options, flip) },
		{ "delay", offsetof(struct relay_options, delay_ms) },
		{ "jitter", offsetof(struct relay_options, jitter_ms) },
	};
	_cleanup_(freep) char *copy = strdup(s);
	char *rest = copy, *word;

	o->on = true;
	while ((word = strsep(&rest, ","))) {
		char *value = strchr(word, '=');
		uint64_t n;
		bool known = false;

		if (!value || !num_parse_u64(value + 1, UINT32_MAX, &n))
			return false;
		*value = '\0';
		if (strcmp(word, "seed") == 0) {
			o->seed = n;
			continue;
		}
		for (size_t i = 0; i < ARRAY_LEN(fields); i++)
			if (strcmp(word, fields[i].name) == 0) {
				*(uint32_t *)(void *)((char *)o + fields[i].at) = (uint32_t)n;
				known = true;
			}
		if (!known)
			return false;
	}
	return true;
}

/** random_below() - splitmix64 */
static uint32_t random_below(uint32_t n)
{
	uint64_t z = (state += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return n ? (uint32_t)((z ^ z >> 31) % n) : 0;
}

static bool happens(uint32_t of_1000)
{
	return random_below(1000) < of_1000;
}

static void put(struct wire *w, const uint8_t *data, uint32_t len, int64_t due)
{
	size_t i = w->count;
	struct frame f = { .due = due, .len = len };

	if (i == WAITING_MAX || !(f.data = malloc(len)))
		return;
	memcpy(f.data, data, len);
	w->count++;
	for (; i && w->heap[(i - 1) / 2].due > due; i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = f;
}

static struct frame pop(struct wire *w)
{
	struct frame top = w->heap[0], last = w->heap[--w->count];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= w->count)
			break;
		if (child + 1 < w->count && w->heap[child + 1].due < w->heap[child].due)
			child++;
		if (w->heap[child].due >= last.due)
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = last;
	return top;
}

/**
 * pass() - A frame on its way. A frame whose checksum is still to be made must not be damaged: nobody could notice.
 * (The TAP of this test makes them itself, see tap.c.)
 */
static void pass(struct wire *w, uint8_t *data, uint32_t len, int64_t now)
{
	static int64_t last; /* frames keep their order, unless chosen not to */
	int64_t due = now + options.delay_ms * NSEC_PER_MSEC;

	if (happens(options.loss))
		return;
	if (options.jitter_ms)
		due += ((int64_t)random_below(2 * options.jitter_ms + 1) - options.jitter_ms) * NSEC_PER_MSEC;
	if (!happens(options.reorder))
		due = last = MAX(due, last + 1);
	else
		due += 2 * NSEC_PER_MSEC;
	if (happens(options.flip) && !(data[0] & NEEDS_CSUM) && len > HEADERS + 14)
		data[HEADERS + 14 + random_below(len - HEADERS - 14)] ^= (uint8_t)(1 << random_below(8));
	put(w, data, len, due);
	if (happens(options.duplicate))
		put(w, data, len, due + NSEC_PER_MSEC);
}

/** work() - Until an end is gone. */
static void work(int tap, int gateway)
{
	static struct wire wires[2];
	static uint8_t data[FRAME_MAX];
	struct pollfd p[2] = { { .fd = tap }, { .fd = gateway } };

	wires[0].from = wires[1].to = tap;
	wires[0].to = wires[1].from = gateway;
	for (;;) {
		int64_t next = INT64_MAX, now;
		struct timespec wait;

		for (int i = 0; i < 2; i++) {
			p[i].events = POLLIN;
			if (wires[i].count)
				next = MIN(next, wires[i].heap[0].due);
		}
		next = MAX(next - clock_monotonic_ns(), 0);
		wait = (struct timespec){ next / NSEC_PER_SEC, next % NSEC_PER_SEC };
		if (ppoll(p, 2, next > NSEC_PER_SEC * 100 ? NULL : &wait, NULL) < 0 && errno != EINTR)
			return;
		now = clock_monotonic_ns();
		for (int i = 0; i < 2; i++) {
			struct wire *w = &wires[i];

			for (int turn = 0; turn < 64 && p[i].revents; turn++) {
				ssize_t n = read(w->from, data, sizeof(data));

				if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
					return;
				if (n < 0)
					break;
				pass(w, data, (uint32_t)n, now);
			}
			while (w->count && w->heap[0].due <= now) {
				struct frame f = pop(w);

				/* A full end loses it, as a full queue does on any path. */
				if (write(w->to, f.data, f.len) < 0 && errno == EPIPE)
					return;
				free(f.data);
			}
		}
	}
}

int relay_start(int tap, const struct relay_options *o)
{
	pid_t parent = getpid();
	int pair[2], size = 4 << 20;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (fork() != 0) {
		close(tap);
		close(pair[0]);
		return pair[1];
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	close(pair[1]);
	signal(SIGPIPE, SIG_IGN);
	options = *o;
	state = o->seed;
	work(tap, pair[0]);
	_exit(0);
}
