/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/net/hash.c src/net/tcp/buffer.c src/net/tcp/congestion.c src/net/tcp/input.c src/net/tcp/options.c src/net/tcp/output.c src/net/tcp/table.c src/net/tcp/timers.c src/net/tcp/user.c src/base/error.c src/base/log.c src/base/fd.c src/base/buf.c
/*
 * The input is a script of 8-byte steps: segments of a guest (plausible and not, or the bytes that follow as they are),
 * what the gateway does with its connections, time, and a link that is full. Each byte of a stream tells its sequence
 * number, in both directions: what is read and what is sent must be the right bytes, whatever came before. In the end
 * nothing is left.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/macros.h"
#include "tcp_wire.h"

#define STEP 8
#define PORTS 4
#define MAX_CONNECTIONS 3
#define ISN 0xffffff00u

struct port {
	struct tcp_conn *c;
	uint32_t seq, ack; /* the guest's: what it says next, what it expects */
	uint32_t acked;	   /* and said so */
	uint32_t wrote;	   /* number of the next byte that we write */
	uint32_t reads;	   /* of the next that we read */
	bool begun;	   /* wrote is known */
};

static struct port ports[PORTS + 1]; /* the last one is for raw bytes: what it says has no meaning */
static struct tcp_stack *stack;
static int64_t now;
static uint32_t first; /* number of the first byte after a SYN */
static uint8_t mode; /* what callbacks do */
static bool full;
static uint32_t max_chunks;
static uint8_t stream[1 << 17]; /* bytes by their sequence number, modulo 2^16 */

#define require(holds) ((holds) ? (void)0 : abort())

static struct port *port_of(const struct tcp_conn *c)
{
	return &ports[tcp_pair(c)->guest.port - 4000];
}

static uint8_t byte_of(uint32_t seq)
{
	return (uint8_t)(seq * 31 + (seq >> 8) * 7);
}

static bool on_output(void *arg, const struct tcp_out *out)
{
	struct port *p = &ports[out->pair->guest.port - 4000];
	struct wire w;
	size_t sum = 0;

	(void)arg;
	if (full)
		return false;
	require(out->header_len >= 20 && out->header_len <= 60 && out->payload_count <= TCP_OUT_IOV);
	require(out->header_len + out->payload_len + 20 <= 65535);
	require(wire_read(&w, out->header, out->header_len));
	for (int i = 0; i < out->payload_count; i++) {
		const uint8_t *bytes = out->payload[i].iov_base;
		size_t len = out->payload[i].iov_len;

		require(memcmp(bytes, stream + (uint16_t)(w.seq + sum), len) == 0);
		sum += len;
	}
	require(sum == out->payload_len);
	require(out->gso_size == 0 || (out->gso_size < sum && (sum - 1) / out->gso_size < 1400));
	if ((w.flags & SYN) && !p->begun) {
		p->wrote = p->acked = w.seq + 1;
		p->begun = true;
	}
	if (!(w.flags & RST)) {
		p->ack = w.seq + (uint32_t)sum + !!(w.flags & SYN) + !!(w.flags & FIN);
		if ((w.flags & ACK) && (int32_t)(w.ack - p->seq) > 0)
			p->seq = w.ack;
	}
	return true;
}

static void forget(struct port *p)
{
	p->c = NULL;
}

static void on_incoming(void *arg, struct tcp_conn *c)
{
	struct port *p = port_of(c);

	(void)arg;
	/* One whose protocol is done may still have something to read, and the pair may be opened anew. */
	if (p->c)
		tcp_drop(p->c);
	p->c = c;
	p->begun = false;
	p->reads = first;
	if ((mode & 3) == 0) {
		tcp_accept(c);
	} else if ((mode & 15) == 1) {
		tcp_refuse(c);
		forget(p);
	} else if ((mode & 15) == 2) {
		tcp_drop(c);
		forget(p);
	}
}

static void on_established(void *arg, struct tcp_conn *c)
{
	struct port *p = port_of(c);

	(void)arg;
	require(p->c == c);
	if (mode & 16) {
		tcp_abort(c);
		forget(p);
	}
}

static void read_some(struct port *p, size_t most)
{
	struct iovec iov[TCP_READ_IOV];
	size_t all = tcp_readable(p->c), seen = 0;
	int n = tcp_peek(p->c, iov, TCP_READ_IOV);

	for (int i = 0; i < n; i++) {
		const uint8_t *bytes = iov[i].iov_base;

		require(p == &ports[PORTS] || memcmp(bytes, stream + (uint16_t)(p->reads + seen), iov[i].iov_len) == 0);
		seen += iov[i].iov_len;
	}
	require(seen == all);
	most = MIN(most, all);
	tcp_consume(p->c, most);
	p->reads += (uint32_t)most;
}

static void on_readable(void *arg, struct tcp_conn *c)
{
	struct port *p = port_of(c);

	(void)arg;
	require(p->c == c);
	if (mode & 32)
		read_some(p, mode & 64 ? 1000 : SIZE_MAX);
	if ((mode & 128) && tcp_at_end(c))
		tcp_shutdown_write(c);
}

static void write_some(struct port *p, size_t want, size_t use)
{
	struct iovec iov[3];
	int n = tcp_reserve(p->c, want, iov, 3);
	size_t sum = 0;

	for (int i = 0; i < n; i++) {
		memcpy(iov[i].iov_base, stream + (uint16_t)(p->wrote + sum), iov[i].iov_len);
		sum += iov[i].iov_len;
	}
	sum = MIN(sum, use);
	p->wrote += (uint32_t)sum;
	tcp_commit(p->c, sum);
}

static void on_writable(void *arg, struct tcp_conn *c)
{
	(void)arg;
	require(port_of(c)->c == c);
	if (port_of(c)->begun)
		write_some(port_of(c), 3000, 3000);
}

static void on_closed(void *arg, struct tcp_conn *c, enum tcp_end how)
{
	(void)arg;
	require(port_of(c)->c == c);
	require(how != TCP_END_DONE || tcp_readable(c) == 0);
	forget(port_of(c));
}

static const struct tcp_ops ops = { on_output, on_incoming, on_established, on_readable, on_writable, on_closed };

/** input() - Bytes of their exact size. */
static void input(const struct tcp_pair *pair, const uint8_t *bytes, size_t len)
{
	uint8_t *exact = malloc(len + !len);

	if (!exact)
		return;
	memcpy(exact, bytes, len);
	tcp_input(stack, pair, exact, len);
	free(exact);
}

/**
 * segment() - Numbers near what is expected: s[1] port, s[2] flags, s[3] seq (and SACKs), s[4] ack, s[5] length, s[6]
 * options, s[7] window (and SACKs).
 */
static void segment(const uint8_t *s)
{
	static uint8_t bytes[70000];
	unsigned int n = s[1] % PORTS;
	struct port *p = &ports[n];
	struct tcp_pair pair = wire_pair((uint16_t)(4000 + n));
	struct wire w = { .flags = s[2] & 0x3f, .window = (uint16_t)(s[7] * 257) };
	int32_t off = (int8_t)s[3];
	bool opening;

	if ((w.flags & SYN) && !p->c)
		p->seq = ISN + n;
	w.seq = p->seq + (uint32_t)(off * (s[6] & 128 ? 700 : 1) * (off & 1));
	w.ack = (s[4] & 128 ? p->acked : p->ack) + (s[4] & 63 ? ((s[4] & 63) - 20u) * (s[4] & 64 ? 730 : 1) : 0);
	w.len = s[5] < 200 ? s[5] * (s[5] & 1 ? 16u : 1u) : (s[5] - 199u) * 1150;
	if (s[6] & 1)
		w.mss = (uint16_t)(s[7] * 6);
	if (s[6] & 2)
		w.scale = 1 + s[7] % 16;
	w.sack_permitted = s[6] & 4;
	w.time = s[6] & 8;
	w.tsval = (uint32_t)(now / NSEC_PER_MSEC) - (s[6] & 16 ? s[7] : 0);
	w.tsecr = s[6] & 32 ? s[7] : w.tsval;
	if ((s[6] & 64) && !(w.flags & SYN)) {
		w.sacks = 1 + s[7] % 3;
		for (unsigned int i = 0; i < w.sacks; i++) {
			w.sack[i][0] = p->acked + (1 + s[7] % 16 + 3 * i) * 730u;
			w.sack[i][1] = w.sack[i][0] + (1 + s[3] % 8) * 365u;
		}
	}
	if ((w.flags & SYN) && !p->c && !(s[6] & 128))
		w.seq = p->seq++;
	if ((w.flags & ACK) && (int32_t)(w.ack - p->acked) > 0 && (int32_t)(p->ack - w.ack) >= 0)
		p->acked = w.ack;
	w.data = stream + (uint16_t)(w.seq + !!(w.flags & SYN));
	first = w.seq + 1;
	opening = p->c && tcp_state(p->c) == TCP_SYN_SENT;
	input(&pair, bytes, wire_write(&w, &pair, bytes));
	if (opening && p->c && tcp_state(p->c) != TCP_SYN_SENT)
		p->reads = first;
}

static void user(const uint8_t *s)
{
	struct port *p = &ports[s[1] % (PORTS + 1)];
	struct tcp_pair pair = wire_pair((uint16_t)(4000 + s[1] % (PORTS + 1)));
	size_t n = (size_t)s[3] << (s[4] % 9);

	if (!p->c) {
		if (s[2] % 4 == 0) {
			p->begun = false;
			p->seq = ISN;
			p->c = tcp_connect(stack, &pair, NULL, NULL);
		}
		return;
	}
	switch (s[2] % 9) {
	case 0:
		tcp_accept(p->c);
		break;
	case 1:
		read_some(p, n);
		break;
	case 2:
	case 3:
		if (p->begun)
			write_some(p, n, s[5] & 1 ? n : n / 2);
		break;
	case 4:
		tcp_shutdown_write(p->c);
		break;
	case 5:
		tcp_close(p->c);
		forget(p);
		break;
	case 6:
		tcp_abort(p->c);
		forget(p);
		break;
	case 7:
		tcp_refuse(p->c);
		forget(p);
		break;
	default:
		tcp_drop(p->c);
		forget(p);
		break;
	}
}

/** pass() - Time, timer by timer; there is never an end of timers that are due now. */
static void pass(int64_t ms)
{
	int64_t until = now + ms * NSEC_PER_MSEC, next;
	unsigned int at_once = 0;

	while ((next = tcp_next_timeout(stack)) >= 0 && next <= until) {
		at_once = next > now ? 0 : at_once + 1;
		require(at_once < 1000);
		now = MAX(now, next);
		tcp_set_time(stack, now);
		tcp_tick(stack);
	}
	now = until;
	tcp_set_time(stack, now);
}

static void check(void)
{
	const struct tcp_counters *n = tcp_counters(stack);

	require(n->connections <= MAX_CONNECTIONS && n->time_wait <= n->connections);
	require(n->chunks <= max_chunks && n->ranges <= 2 * n->connections);
}

static void end_all(void)
{
	full = false;
	mode = 1;
	tcp_output_ready(stack);
	for (int i = 0; i <= PORTS; i++) {
		if (ports[i].c)
			tcp_close(ports[i].c);
		forget(&ports[i]);
	}
	pass(3600000);
	require(tcp_counters(stack)->connections == 0 && tcp_counters(stack)->chunks == 0 &&
		tcp_counters(stack)->ranges == 0 && tcp_counters(stack)->time_wait == 0);
	tcp_stack_free(stack);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size;
	struct tcp_config config = { .max_connections = MAX_CONNECTIONS, .secret = { 7 } };

	if (size < 1)
		return 0;
	if (!stream[1]) {
		for (uint32_t i = 0; i < sizeof(stream); i++)
			stream[i] = byte_of((uint16_t)i);
	}
	max_chunks = *data & 4 ? 6 : 600;
	config.memory = max_chunks * TCP_CHUNK;
	config.gso = *data & 1;
	config.mtu = *data & 2 ? 65520 : 1500;
	memset(ports, 0, sizeof(ports));
	now = 1000 * NSEC_PER_SEC;
	mode = *data++;
	full = false;
	stack = tcp_stack_new(&config, &ops, NULL, now, NULL);
	require(stack != NULL);
	for (unsigned int steps = 0; end - data >= STEP && steps < 2000; steps++, data += STEP) {
		size_t raw = data[1] % 80u;
		struct tcp_pair raw_pair;

		switch (data[0] % 12) {
		case 0:
		case 1:
		case 2:
		case 3:
		case 4:
			segment(data);
			break;
		case 5:
		case 6:
		case 7:
			user(data);
			break;
		case 8:
			pass((int64_t)data[1] << (data[2] % 12));
			break;
		case 9:
			mode = data[1];
			break;
		case 10:
			full = data[1] & 1;
			if (!full)
				tcp_output_ready(stack);
			break;
		default:
			raw_pair = wire_pair(4000 + PORTS);
			input(&raw_pair, data + 2, MIN(raw, (size_t)(end - data) - 2));
			break;
		}
		check();
	}
	end_all();
	return 0;
}
