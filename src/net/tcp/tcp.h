/* SPDX-License-Identifier: Apache-2.0 */
/**
 * TCP towards the guest: RFC 9293 with window scaling and timestamps (7323), SACK (2018, 6675), congestion control
 * (5681), retransmission timer (6298), initial sequence numbers (6528) and challenge ACKs (5961).
 *
 * Pure: no sockets and no clock. Segments come in by tcp_input(), go out through ops.output(), and time is told by
 * tcp_set_time(). "us" is the end that the gateway plays (the remote server, or whoever connected to a published port),
 * "guest" the other end. One thread per stack.
 *
 * Order of things: callbacks are made only from within tcp_input(), tcp_tick() and tcp_output_ready(), never from a
 * call on a connection; what such a call makes known later (a connection that ends once its last byte was read) makes
 * tcp_next_timeout() answer "now". Within a callback every function but those three and tcp_stack_free() may be called,
 * on any connection. output() is the exception: it is called from everywhere, and calls nothing here.
 *
 * Memory: a connection is about 1 KiB. Data lies in chunks of TCP_CHUNK bytes of one region for the whole stack; an
 * empty buffer has none. How much one buffer may hold shrinks as the region fills, and its second half is for 4 KiB
 * each, so that no set of connections starves the others. Out-of-order data lies in place in the receive buffer, with
 * at most TCP_RANGES_MAX gaps.
 */
#ifndef MSB_NET_TCP_TCP_H
#define MSB_NET_TCP_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"
#include "net/ip.h"

#define TCP_CHUNK 16384u
#define TCP_BUFFER_MAX (63u * TCP_CHUNK) /* bytes that one direction of a connection may hold */
#define TCP_RANGES_MAX 64		 /* pieces of out-of-order data, and of the peer's SACKs, kept per connection */
#define TCP_READ_IOV 66			 /* iovecs with which tcp_peek() can show all there is */
#define TCP_OUT_IOV 6			 /* most iovecs of payload of one frame */

struct tcp_stack;
struct tcp_conn;

/** The two ends of a connection; its key. */
struct tcp_pair {
	struct endpoint us, guest;
};

/** Why a connection ended. */
enum tcp_end {
	TCP_END_DONE,	   /* both directions were closed and everything was delivered */
	TCP_END_RESET,	   /* the guest sent RST; what was not read is lost */
	TCP_END_REFUSED,   /* the guest answered our SYN with RST */
	TCP_END_TIMED_OUT, /* the guest did not answer (SYN, data, keepalive), or a held SYN was never decided */
};

/** RFC 9293, 3.3.2. LISTEN does not appear: whatever has no connection is asked for by ops.incoming(). */
enum tcp_state {
	TCP_SYN_SENT,
	TCP_SYN_RECEIVED, /* also: held, before tcp_accept() */
	TCP_ESTABLISHED,
	TCP_FIN_WAIT_1,
	TCP_FIN_WAIT_2,
	TCP_CLOSE_WAIT,
	TCP_CLOSING,
	TCP_LAST_ACK,
	TCP_TIME_WAIT,
	TCP_CLOSED,
};

/** One frame to send: TCP header, then payload. Valid during the call only. */
struct tcp_out {
	const struct tcp_pair *pair; /* source is us, destination the guest */
	const uint8_t *header;	     /* the checksum field is 0: put it in, or the pseudo-header sum for offload */
	size_t header_len;	     /* 20..60 */
	const struct iovec *payload;
	int payload_count;	     /* 0..TCP_OUT_IOV */
	size_t payload_len;	     /* with an IP header of 20 (IPv6: 40) bytes at most 65,535 together */
	uint16_t gso_size;	     /* payload bytes per segment; 0: this is one segment */
};

struct tcp_ops {
	/**
	 * A frame for the guest. Return: false when the link takes no more; nothing of the frame was taken then, and
	 * the stack sends again when tcp_output_ready() is called (answers that belong to no connection are lost).
	 */
	bool (*output)(void *arg, const struct tcp_out *out);
	/**
	 * A SYN for which there is no connection. Set the user pointer, then tcp_accept(), tcp_refuse() or tcp_drop()
	 * at once, or do nothing: it is held until one of these is called later. Repeated SYNs are not reported again.
	 * An earlier connection of the same pair may still be there, ended but not read to its end.
	 */
	void (*incoming)(void *arg, struct tcp_conn *c);
	/** The handshake is complete (accepted or tcp_connect()ed). Data may have been written before. */
	void (*established)(void *arg, struct tcp_conn *c);
	/** There is more to read than before, or the guest's end of data was reached: tcp_peek(), tcp_at_end(). */
	void (*readable)(void *arg, struct tcp_conn *c);
	/** tcp_reserve() had no space; there is some again. */
	void (*writable)(void *arg, struct tcp_conn *c);
	/**
	 * The connection is over; the pointer is not valid after this returns. Called once for each connection that was
	 * given to incoming() or returned by tcp_connect(), unless the user let it go before (tcp_refuse(), tcp_drop(),
	 * tcp_abort(), tcp_close()). TCP_END_DONE waits until everything was read.
	 */
	void (*closed)(void *arg, struct tcp_conn *c, enum tcp_end how);
};

/** A 0 stands for the value in brackets. */
struct tcp_config {
	uint32_t max_connections; /* [4096] in all states; TIME_WAITs give way, then a SYN is answered with RST */
	size_t memory;		  /* [128 KiB a connection, at least 64 MiB] all buffers; only addresses until needed */
	uint32_t buffer_max;	  /* [TCP_BUFFER_MAX] per direction, rounded down to chunks, at least one */
	uint32_t mtu;		  /* [1500] 576..65535; of the link to the guest */
	bool gso;		  /* frames of many segments go out at once; without it each frame is one segment */
	uint32_t rto_min_ms;	  /* [200] above the measured time; RFC 6298 wants 1 s in all, for unknown paths */
	uint32_t syn_retries;	  /* [6] also of SYN-ACK: 1 s, doubled each time: gone after about two minutes */
	uint32_t user_timeout_ms; /* [120,000] no progress for so long; while the window is closed: no answer */
	uint32_t hold_ms;	  /* [150,000] a SYN not decided for so long times out */
	uint32_t keepalive_ms;	  /* [7,200,000] of silence, then 9 probes, 75 s apart */
	uint32_t fin_wait_2_ms;	  /* [60,000] without the guest's FIN, once the user called tcp_close() */
	uint32_t time_wait_ms;	  /* [1,000] nothing strays for minutes on a link of one hop */
	uint8_t secret[16];	  /* random: keys of hash table, sequence numbers, timestamps */
};

/** Events since the stack was made, and what there is now. */
struct tcp_counters {
	uint64_t segments_in, segments_out; /* frames: one of many segments counts once */
	uint64_t bytes_in, bytes_out;	    /* payload in sequence; payload without retransmissions */
	uint64_t malformed;		    /* header or options that are none, dropped */
	uint64_t incoming, accepted, connected;
	uint64_t refused_limit;		    /* SYN or tcp_connect() beyond max_connections */
	uint64_t retransmits, timeouts, fast_recoveries;
	uint64_t duplicates, out_of_order;
	uint64_t dropped_memory;	    /* data within the window for which there was no chunk or range */
	uint64_t challenge_acks, resets_out, resets_in;
	uint64_t probes, keepalives;
	uint64_t link_full;
	uint64_t closed[TCP_END_TIMED_OUT + 1];
	uint32_t connections;	   /* now, in all states */
	uint32_t connections_peak;
	uint32_t time_wait;	   /* now */
	uint32_t chunks, chunks_peak; /* now in use; each TCP_CHUNK bytes */
	uint32_t ranges;	   /* now: connections with a list of ranges */
};

/**
 * tcp_stack_new() - A stack without connections.
 * @now: monotonic nanoseconds
 * Return: owned stack, or NULL (ERR_INVALID for a config out of range, ERR_NO_MEMORY).
 */
struct tcp_stack *tcp_stack_new(const struct tcp_config *config, const struct tcp_ops *ops, void *arg, int64_t now,
				struct error *err);
/** tcp_stack_free() - Forget everything: no callback, no segment. NULL is allowed. Not within a callback. */
void tcp_stack_free(struct tcp_stack *s);
static inline void tcp_stack_freep(struct tcp_stack **s)
{
	tcp_stack_free(*s);
}

/** tcp_set_time() - The time is now (monotonic ns). Once per turn of the loop, before other calls; never goes back. */
void tcp_set_time(struct tcp_stack *s, int64_t now);

/**
 * tcp_input() - A segment from the guest: TCP header and payload, as long as the IP packet says, checksum verified.
 * Payload may be that of many segments (GSO). Anything may be in it. Not looked at after return.
 */
void tcp_input(struct tcp_stack *s, const struct tcp_pair *pair, const uint8_t *data, size_t len);
/** tcp_next_timeout() - When tcp_tick() is due: monotonic ns, in the past for "now"; -1: never. */
int64_t tcp_next_timeout(const struct tcp_stack *s);
/** tcp_tick() - Do what is due by the time told last. Bounded: what is left over is due at once. */
void tcp_tick(struct tcp_stack *s);
/** tcp_output_ready() - The link takes frames again after output() said false. */
void tcp_output_ready(struct tcp_stack *s);
const struct tcp_counters *tcp_counters(struct tcp_stack *s);

/**
 * tcp_connect() - Open towards the guest (published ports). established() or closed() tells the outcome.
 * Return: connection, or NULL: at the limit (ERR_LIMIT), the pair is in use (ERR_EXISTS), ERR_NO_MEMORY.
 */
struct tcp_conn *tcp_connect(struct tcp_stack *s, const struct tcp_pair *pair, void *user, struct error *err);
/** tcp_accept() - Answer a held SYN with SYN-ACK. */
void tcp_accept(struct tcp_conn *c);
/** tcp_refuse() - Answer a held SYN with RST. The pointer is gone. */
void tcp_refuse(struct tcp_conn *c);
/** tcp_drop() - Forget a held SYN (or any connection) without an answer. The pointer is gone. */
void tcp_drop(struct tcp_conn *c);

void tcp_set_user(struct tcp_conn *c, void *user);
void *tcp_user(const struct tcp_conn *c);
const struct tcp_pair *tcp_pair(const struct tcp_conn *c);
enum tcp_state tcp_state(const struct tcp_conn *c);

/**
 * tcp_peek() - What the guest sent, in order and not yet consumed, where it lies.
 * @iov: gets at most count pieces; valid until the next call on the stack, or in a callback until that returns. Within
 *       readable() the last piece may be the payload of the segment itself, which is copied only if it is not consumed.
 * Return: number of pieces; 0: nothing there (tcp_at_end() says whether ever will be).
 */
int tcp_peek(const struct tcp_conn *c, struct iovec *iov, int count);
/** tcp_readable() - Bytes that tcp_peek() could show. */
size_t tcp_readable(const struct tcp_conn *c);
/** tcp_consume() - Forget the first n bytes, n <= tcp_readable(); opens the window. */
void tcp_consume(struct tcp_conn *c, size_t n);
/** tcp_at_end() - Has the guest sent FIN, and was everything before it consumed? */
bool tcp_at_end(const struct tcp_conn *c);

/**
 * tcp_reserve() - Space for bytes to the guest, in place. Always followed by tcp_commit() on the same connection,
 * before any other call on the stack, also when nothing was put in.
 * @want: bytes; it may get less
 * Return: number of pieces; 0: no space, writable() is called when there is some (or nothing may be sent any more).
 */
int tcp_reserve(struct tcp_conn *c, size_t want, struct iovec *iov, int count);
/** tcp_commit() - The first n reserved bytes hold data: send it. */
void tcp_commit(struct tcp_conn *c, size_t n);
/** tcp_write() - Copying form of reserve and commit. Return: bytes taken, as far as there was space. */
size_t tcp_write(struct tcp_conn *c, const void *data, size_t n);
/** tcp_unsent() - Bytes committed that the guest has not acknowledged. */
size_t tcp_unsent(const struct tcp_conn *c);
/** tcp_shutdown_write() - FIN after what was committed. More than once is the same as once. */
void tcp_shutdown_write(struct tcp_conn *c);

/** tcp_abort() - RST, and forget. The pointer is gone. */
void tcp_abort(struct tcp_conn *c);
/**
 * tcp_close() - Let go in good order: FIN after what was committed; the stack sees to the rest. Data that was not read,
 * or comes later, is answered with RST. The pointer is gone.
 */
void tcp_close(struct tcp_conn *c);

#endif
