/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Frames between host and agent, over one vsock connection per purpose (a control connection, one per command or copy).
 *
 * A frame is a 12-byte header, little endian: u32 body length, u16 type, u16 zero, u32 session; then the body.
 * Bodies of stream frames (stdin, stdout, stderr, data) are raw bytes, all others are CBOR (proto/message.h). The same
 * frames travel between the supervisor and the clients on its control socket. Both ends treat the other as hostile.
 */
#ifndef MSB_PROTO_FRAME_H
#define MSB_PROTO_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define PROTO_VERSION 1
#define FRAME_HEADER_SIZE 12
#define FRAME_BODY_MAX (1024 * 1024)   /* of any frame; bounds what a reader buffers */
#define FRAME_STREAM_MAX (64 * 1024)   /* of a stream frame */
#define STDIN_WINDOW (256 * 1024)      /* stdin bytes the host may have under way that the command has not taken */

#define VSOCK_CID_HOST 2
#define VSOCK_CID_GUEST 3
#define VSOCK_PORT_CONTROL 1	/* on the host: the agent connects here once, before any user process runs */
#define VSOCK_PORT_SESSION 2	/* in the guest: the host connects here, once per session */
#define VSOCK_PORT_AGENT_SOURCE 1023 /* source port of the agent's control connection (privileged in the guest) */

enum frame_type {
	/* control connection */
	FRAME_HELLO = 1,	/* agent -> host: struct msg_hello */
	FRAME_BOOT = 2,		/* host -> agent: struct msg_boot */
	FRAME_READY = 3,	/* agent -> host: struct msg_ready */
	FRAME_BOOT_FAILED = 4,	/* agent -> host: struct msg_failed */
	FRAME_PING = 5,		/* host -> agent: empty; answered by FRAME_PONG */
	FRAME_PONG = 6,
	FRAME_CLOCK = 7,	/* host -> agent: struct msg_clock */
	FRAME_SHUTDOWN = 8,	/* host -> agent: struct msg_shutdown or empty; the agent ends all, syncs, powers off */
	FRAME_GOODBYE = 9,	/* agent -> host: empty; everything is on disk, power-off follows */
	FRAME_STATS = 10,	/* host -> agent: empty; answered by FRAME_STATS_REPLY */
	FRAME_STATS_REPLY = 11, /* agent -> host: struct msg_stats */
	FRAME_SQUEEZE = 12,	/* host -> agent: empty; nobody uses the sandbox, drop what is only cached */
	/* session connection, files (see below) */
	FRAME_DONE = 15,	/* agent -> host: struct msg_done, the answer to PUT's END; the last frame */
	/* session connection, a command */
	FRAME_EXEC = 16,	/* host -> agent: struct msg_exec, first frame of the connection */
	FRAME_STARTED = 17,	/* agent -> host: struct msg_started */
	FRAME_EXEC_FAILED = 18, /* agent -> host: struct msg_failed; also of PUT and GET, at any point */
	FRAME_STDIN = 19,	/* host -> agent: raw */
	FRAME_STDIN_EOF = 20,	/* host -> agent: empty */
	FRAME_STDOUT = 21,	/* agent -> host: raw (all output when a pty is used) */
	FRAME_STDERR = 22,	/* agent -> host: raw */
	FRAME_RESIZE = 23,	/* host -> agent: struct msg_resize */
	FRAME_SIGNAL = 24,	/* host -> agent: struct msg_signal, to the process group */
	FRAME_EXITED = 25,	/* agent -> host: struct msg_exited, last frame of the connection */
	FRAME_STDIN_TAKEN = 26, /* agent -> host: struct msg_taken, opens the window for so many bytes */
	/*
	 * session connection, files: PUT (host to guest) or GET (guest to host) is the first frame. Then, from the
	 * host or from the agent: an ENTRY for what is copied, which comes first, and for all below it, depth first,
	 * a folder before what is in it; DATA after the ENTRY of a file, as many as it takes; END.
	 */
	FRAME_PUT = 27,		/* host -> agent: struct msg_put */
	FRAME_GET = 28,		/* host -> agent: struct msg_get */
	FRAME_ENTRY = 29,	/* struct msg_entry */
	FRAME_DATA = 30,	/* raw, at most FRAME_STREAM_MAX */
	FRAME_END = 31,		/* empty; of GET the last frame of the connection */
	/* supervisor and its client, never on vsock */
	FRAME_SANDBOX_READY = 32,  /* supervisor -> client: empty; the session socket is joined to the guest */
	FRAME_SANDBOX_FAILED = 33, /* supervisor -> client: struct msg_failed; the sandbox ends */
};

struct frame {
	uint16_t type;
	uint32_t session;
	const uint8_t *body; /* borrows the input */
	size_t body_len;
};

enum frame_result { FRAME_OK, FRAME_MORE, FRAME_BAD };

/**
 * frame_parse() - Look for one whole frame at the start of p.
 * @used: bytes the frame takes (header and body), set on FRAME_OK
 * Return: FRAME_OK; FRAME_MORE when bytes are missing; FRAME_BAD when the header breaks the limits.
 */
enum frame_result frame_parse(const uint8_t *p, size_t n, struct frame *out, size_t *used);

/** frame_append() - Write header and body to the end of out. Return: false when out is full or the body too long. */
bool frame_append(struct buf *out, uint16_t type, uint32_t session, const void *body, size_t body_len);

/** frame_header() - Encode a header alone, for writev() with a body elsewhere. */
void frame_header(uint8_t to[FRAME_HEADER_SIZE], uint16_t type, uint32_t session, size_t body_len);

#endif
