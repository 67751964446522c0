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
#include "net/checksum.h"
#include "net/packet.h"

#define FRAME_MAX 65564
#define WAITING_MAX 16384 /* frames on the wire, each way; more are lost */
#define HEADERS 12
#define NEEDS_CSUM 1
#define FIN 1
#define PSH 8

struct frame {
	int64_t due;
	uint32_t len;
	uint8_t *data;
};

/** One direction: a heap by time. */
struct wire {
	int from, to;
	int64_t last; /* when the latest of those that keep their order is due */
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

static uint16_t get_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
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

/** send_one() - A frame of one segment, whole, on its way. */
static void send_one(struct wire *w, uint8_t *data, uint32_t len, int64_t now)
{
	int64_t due = now + options.delay_ms * NSEC_PER_MSEC;

	if (happens(options.loss))
		return;
	if (options.jitter_ms)
		due += ((int64_t)random_below(2 * options.jitter_ms + 1) - options.jitter_ms) * NSEC_PER_MSEC;
	/* Frames keep their order, unless chosen not to: such a one comes after some that were sent later. */
	if (happens(options.reorder))
		due = w->last + 2 * NSEC_PER_MSEC;
	else
		w->last = due = MAX(due, w->last + 1);
	if (happens(options.flip) && len > HEADERS + ETH_HEADER)
		data[HEADERS + ETH_HEADER + random_below(len - HEADERS - ETH_HEADER)] ^=
			(uint8_t)(1 << random_below(8));
	put(w, data, len, due);
	if (happens(options.duplicate))
		put(w, data, len, due + NSEC_PER_MSEC);
}

/** finish() - Make the checksum of a frame that has only the pseudo-header's. */
static void finish(uint8_t *data, uint32_t len)
{
	uint8_t *frame = data + HEADERS;
	uint32_t start = get_le16(data + 6), at = start + get_le16(data + 8);
	uint16_t sum;

	if (!(data[0] & NEEDS_CSUM) || at + 2 > len - HEADERS)
		return;
	sum = checksum_end(checksum_add(0, frame + start, len - HEADERS - start));
	memcpy(frame + at, &sum, 2);
	memset(data, 0, 10);
}

/** pass() - A frame: cut into its segments, since the wire is to lose these one by one. */
static void pass(struct wire *w, uint8_t *data, uint32_t len, int64_t now)
{
	static uint8_t one[FRAME_MAX];
	uint32_t gso = data[1] ? get_le16(data + 4) : 0, ip = HEADERS + ETH_HEADER, tcp = HEADERS + get_le16(data + 6);
	uint32_t head = tcp + (data[tcp + 12] >> 4) * 4u;
	bool v6 = data[ip] >> 4 == 6;
	struct packet p;

	if (!gso || !packet_read(data + ip, len - ip, v6, &p)) {
		finish(data, len);
		send_one(w, data, len, now);
		return;
	}
	for (uint32_t at = head; at < len; at += gso) {
		uint32_t n = MIN(gso, len - at);
		uint16_t sum;

		memcpy(one, data, head);
		memcpy(one + head, data + at, n);
		one[1] = 0;
		set32(one + tcp + 4, get32(data + tcp + 4) + (at - head));
		if (at + n < len)
			one[tcp + 13] &= (uint8_t) ~(FIN | PSH);
		if (v6) {
			set16(one + ip + 4, (uint16_t)(head + n - tcp));
		} else {
			set16(one + ip + 2, (uint16_t)(head + n - ip));
			memset(one + ip + 10, 0, 2);
			sum = checksum_end(checksum_add(0, one + ip, IP4_HEADER));
			memcpy(one + ip + 10, &sum, 2);
		}
		sum = checksum_fold(checksum_pseudo(&p.src, &p.dst, PROTO_TCP, head + n - tcp, v6));
		memcpy(one + tcp + 16, &sum, 2);
		finish(one, head + n);
		send_one(w, one, head + n, now);
	}
}

/** work() - Until an end is gone. */
static void work(int tap, int gateway)
{
	static struct wire wires[2]; /* to the gateway, to the guest */
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
		now = clock_monotonic_ns();
		next = MAX(next - now, 0);
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
	/* Not the control socket, above all: the gateway ends with it. */
	fd_close_except((int[]){ STDERR_FILENO, tap, pair[0] }, 3);
	signal(SIGPIPE, SIG_IGN);
	options = *o;
	state = o->seed;
	work(tap, pair[0]);
	_exit(0);
}
