/* SPDX-License-Identifier: Apache-2.0 */
/** What the files of the TCP stack share; its users include net/tcp/tcp.h only. Names of variables are RFC 9293's. */
#ifndef MSB_NET_TCP_STACK_H
#define MSB_NET_TCP_STACK_H

#include "base/clock.h"
#include "base/macros.h"
#include "net/tcp/buffer.h"
#include "net/tcp/tcp.h"

#define TCP_HEADER 20u
#define TCP_HEADER_MAX 60u
#define TCP_IP_MAX 65535u
#define WINDOW_SHIFT 4u /* TCP_BUFFER_MAX >> 4 fits the 16 bits of the header */
#define NEVER INT64_MAX
#define MSS_MIN 88u
#define MSS_DEFAULT 536u
#define SACK_BLOCKS_MAX 4u

enum tcp_flag { FLAG_FIN = 1, FLAG_SYN = 2, FLAG_RST = 4, FLAG_PSH = 8, FLAG_ACK = 16 };

/* What is to be told to the user, and that the connection waits to tell it. */
enum tcp_event { EVENT_ESTABLISHED = 1, EVENT_READABLE = 2, EVENT_WRITABLE = 4, EVENT_CLOSED = 8 };

/** A node of a circular list; one that is in none points at itself. */
struct link {
	struct link *prev, *next;
};

static inline void link_init(struct link *l)
{
	l->prev = l->next = l;
}

static inline bool link_alone(const struct link *l)
{
	return l->next == l;
}

static inline void link_remove(struct link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	link_init(l);
}

/** link_append() - To the end of the list, unless it is in it. */
static inline void link_append(struct link *list, struct link *l)
{
	if (!link_alone(l))
		return;
	l->prev = list->prev;
	l->next = list;
	list->prev->next = l;
	list->prev = l;
}

#define LINK_CONN(l, member) ((struct tcp_conn *)(void *)((char *)(l)-offsetof(struct tcp_conn, member)))

/** A segment of the guest's, taken apart. */
struct segment {
	uint32_t seq, ack, window;
	uint32_t len; /* of payload */
	const uint8_t *data;
	uint8_t flags;
	bool has_mss, has_scale, has_time, sack_permitted;
	uint8_t scale;
	uint16_t mss;
	uint32_t tsval, tsecr;
	uint32_t sacks;
	struct range sack[SACK_BLOCKS_MAX];
};

struct tcp_conn {
	struct tcp_stack *s;
	struct tcp_conn *next; /* in its bucket; of the dead ones, when dead */
	void *user;
	struct tcp_pair pair;
	enum tcp_state state;
	uint8_t events;	 /* enum tcp_event, not told yet */
	enum tcp_end how; /* for EVENT_CLOSED */
	bool attached;	 /* the user has the pointer */
	bool hashed, dead;
	bool corked;	 /* being looked at by tcp_input(), which sends when it is done */
	bool held, passive;
	bool ack_now, delayed; /* an ACK is due, at once or by t_ack */
	bool fin_queued, fin_sent, fin_known;
	bool has_time, has_sack, has_scale;
	bool want_write;
	bool rtt_pending, cwnd_limited, recovering, timed_out;
	bool window_probe; /* t_rexmit is that of the persist timer */
	struct link event, blocked, starved, wait;
	uint32_t heap_at; /* index + 1; 0: not in the heap */

	/* timers: NEVER or when due */
	int64_t t_rexmit, t_ack, t_life;
	int64_t heard;	   /* when an acceptable segment came last */
	int64_t due_since; /* since when the guest has not acknowledged what is due */
	uint8_t backoff, probes;

	/* send */
	uint32_t iss, snd_una, snd_nxt;
	uint32_t snd_end; /* after the last committed byte; FIN has this number */
	uint32_t snd_wnd, snd_wnd_max, snd_wl1, snd_wl2;
	uint32_t reserved; /* bytes after snd_end for which there are chunks */
	uint8_t snd_shift, rcv_shift;
	uint16_t mss; /* of segments to the guest, options not counted */
	struct ring send;

	/* congestion */
	uint32_t cwnd, ssthresh, acked_bytes;
	uint32_t lost_edge;  /* what lies before and is not in sacked is lost */
	uint32_t high_rxt;   /* retransmitted up to here */
	uint32_t recover;    /* end of the recovery */
	uint32_t dupacks;
	struct ranges *sacked;
	uint32_t rtt_seq;
	int64_t rtt_time;
	int64_t srtt, rttvar, rto; /* ns; srtt 0: not measured yet */

	/* receive */
	uint32_t irs, rcv_nxt;
	uint32_t rcv_head; /* first byte that the user has not consumed */
	uint32_t rcv_adv;  /* right edge of the widest window announced */
	uint32_t last_ack; /* acknowledged last */
	uint32_t fin_seq, rcv_latest;
	uint16_t rcv_mss;  /* most bytes a segment of the guest's holds, as far as seen */
	struct ring receive;
	struct ranges *early;
	const uint8_t *direct; /* the last direct_len bytes of what can be read are still in the segment */
	uint32_t direct_len;

	/* timestamps and challenges */
	uint32_t ts_recent, ts_offset;
	int64_t ts_recent_at;
	int64_t challenge_at;
	uint8_t challenges;
};

struct timer_slot {
	int64_t when;
	struct tcp_conn *c;
};

struct tcp_stack {
	struct tcp_config config;
	struct tcp_ops ops;
	void *arg;
	int64_t now;
	struct tcp_counters counters;
	struct pool pool;
	struct tcp_conn **buckets;
	uint32_t bucket_mask;
	struct timer_slot *heap;
	uint32_t heap_count;
	int64_t trim_at;
	struct link events, blocked, starved;
	struct link waiting; /* in TIME_WAIT without a user, oldest first */
	struct link ended;   /* the protocol is done, the user is not */
	struct tcp_conn *dead;
	uint32_t depth; /* within tcp_input(), tcp_tick() or tcp_output_ready() */
};

static inline uint32_t tcp_clock(const struct tcp_conn *c)
{
	return (uint32_t)(c->s->now / NSEC_PER_MSEC) + c->ts_offset;
}

static inline int64_t tcp_after_ms(const struct tcp_conn *c, int64_t ms)
{
	return c->s->now + ms * NSEC_PER_MSEC;
}

static inline uint32_t tcp_unread(const struct tcp_conn *c)
{
	return c->rcv_nxt - c->rcv_head - (c->fin_known && c->rcv_nxt == c->fin_seq + 1);
}

/** tcp_synchronized() - RFC 9293, 3.5.3: states from ESTABLISHED on. */
static inline bool tcp_synchronized(const struct tcp_conn *c)
{
	return c->state >= TCP_ESTABLISHED && c->state < TCP_CLOSED;
}

/* table.c */
/** conn_find() - The connection of a pair, or NULL. */
struct tcp_conn *conn_find(const struct tcp_stack *s, const struct tcp_pair *pair);
/**
 * conn_new() - A connection in the table, with its initial sequence number; TIME_WAITs give way. Return: NULL at the
 * limit.
 */
struct tcp_conn *conn_new(struct tcp_stack *s, const struct tcp_pair *pair, struct error *err);
/** conn_unhash() - Its pair may be used anew. */
void conn_unhash(struct tcp_conn *c);
/** conn_free() - Forget a connection; within tcp_input() and such its memory stays until the end of that. */
void conn_free(struct tcp_conn *c);
/** conn_retire() - Out of the table and of all timers, because only the user still needs it. */
void conn_retire(struct tcp_conn *c);
/** conn_end() - The protocol is done with it: tell the user, or free it when there is none. */
void conn_end(struct tcp_conn *c, enum tcp_end how);
/** conn_time_wait() - Enter TIME_WAIT, or begin its time anew. */
void conn_time_wait(struct tcp_conn *c);
/** conn_notify() - Tell the user later, when no callback runs. */
void conn_notify(struct tcp_conn *c, uint8_t events);
/** conn_deliver() - Tell the user what there is now. The connection may be dead afterwards. */
void conn_deliver(struct tcp_conn *c);
void stack_enter(struct tcp_stack *s);
/** stack_leave() - Free what died meanwhile. */
void stack_leave(struct tcp_stack *s);
/**
 * stack_allowance() - How much a buffer may hold. A part of what is free, so that those that take all they get leave
 * something to those that come later; the second half of the region gives a little to each, however many there are.
 */
uint32_t stack_allowance(const struct tcp_stack *s);
/** stack_trim_later() - Chunks were freed: give their pages back in a while. */
void stack_trim_later(struct tcp_stack *s);

/* options.c */
/** segment_parse() - Return: false when header or options are none. */
bool segment_parse(struct segment *g, const uint8_t *data, size_t len);
/** header_write() - Header and options of a segment of ours. Return: its length. */
uint32_t header_write(struct tcp_conn *c, uint8_t to[TCP_HEADER_MAX], uint32_t seq, uint8_t flags, uint16_t window);
/** header_plain() - A header without options. */
void header_plain(uint8_t to[TCP_HEADER], const struct tcp_pair *pair, uint32_t seq, uint32_t ack, uint8_t flags);
/** options_len() - Bytes of options that a segment with data carries now. */
uint32_t options_len(const struct tcp_conn *c);
/** options_adopt() - What a SYN of the guest offers and we do, too. */
void options_adopt(struct tcp_conn *c, const struct segment *g);
/** mss_of_link() - Payload of a segment that fits the MTU, options not counted. */
uint16_t mss_of_link(const struct tcp_stack *s, const struct tcp_pair *pair);

/* output.c */
/** conn_output() - Send what may be sent, and the ACK that is due; set the timers. */
void conn_output(struct tcp_conn *c);
/** send_control() - A segment without payload, now. Return: false when the link is full. */
bool send_control(struct tcp_conn *c, uint32_t seq, uint8_t flags);
/** send_forced() - As much data as the window takes, be it ever so little. */
void send_forced(struct tcp_conn *c);
/** send_syn() - SYN or SYN-ACK, by the state. */
void send_syn(struct tcp_conn *c);
/** send_reset() - RST for a connection that we give up. */
void send_reset(struct tcp_conn *c);
/** reset_answer() - RST to a segment that belongs to nothing. */
void reset_answer(struct tcp_stack *s, const struct tcp_pair *pair, const struct segment *g);
/** challenge_ack() - RFC 5961: make the guest say whether it means it; at most ten a second. */
void challenge_ack(struct tcp_conn *c);
/** window_opened() - The user consumed: is the window so much wider that the guest should know? Then an ACK is due. */
void window_opened(struct tcp_conn *c);
/** send_limit() - Most bytes that the send buffer may hold now. */
uint32_t send_limit(const struct tcp_conn *c);

/* congestion.c */
void congestion_start(struct tcp_conn *c);
/** congestion_acked() - New data up to ack was acknowledged (snd_una is not changed yet). */
void congestion_acked(struct tcp_conn *c, uint32_t ack, const struct segment *g);
/** congestion_sacks() - Take SACK blocks, and a duplicate ACK; find out what is lost. */
void congestion_sacks(struct tcp_conn *c, const struct segment *g, bool duplicate);
/** congestion_timeout() - The retransmission timer fired. */
void congestion_timeout(struct tcp_conn *c);
/** congestion_pipe() - Bytes in flight, RFC 6675. */
uint32_t congestion_pipe(const struct tcp_conn *c);
/** congestion_hole() - The next lost piece that was not sent again. Return: its length, 0: none. */
uint32_t congestion_hole(const struct tcp_conn *c, uint32_t *seq);
void rtt_sample(struct tcp_conn *c, int64_t rtt);

/* timers.c */
/** conn_arm() - A timer of the connection was changed. */
void conn_arm(struct tcp_conn *c);
/** heap_remove() - Out of the heap. */
void heap_remove(struct tcp_conn *c);
/** conn_watch() - Start the timer of silence: keepalive, or the limit of a state. */
void conn_watch(struct tcp_conn *c);

#endif
