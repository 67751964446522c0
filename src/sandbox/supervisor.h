/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Inside of the supervisor. Files: supervisor.c (the machine and its agent, from boot to end), control.c (the control
 * socket and what is asked on it), clients.c (sessions: bytes between clients and the agent), gateway.c (the process
 * that is the other end of the guest's network).
 */
#ifndef MSB_SANDBOX_SUPERVISOR_H
#define MSB_SANDBOX_SUPERVISOR_H

#include "base/buf.h"
#include "base/loop.h"
#include "proto/frame.h"
#include "sandbox/lifetimes.h"
#include "sandbox/output_log.h"
#include "sandbox/sandbox.h"
#include "state/state.h"

#define CLIENTS_MAX 128

enum phase {
	BOOTING,   /* monitor forked, waiting for HELLO */
	MOUNTING,  /* BOOT sent, waiting for READY */
	PREPARING, /* files go to the guest, then the command of its own starts */
	RUNNING,
	DRAINING, /* shutdown was asked for */
};

struct client;

struct supervisor {
	struct sandbox_spec *spec;
	struct loop *loop;
	enum phase phase;
	int client_fd;	/* to who started the sandbox; -1: gone */
	int session_fd; /* of an ephemeral sandbox: joined to the agent as it is; else -1 */
	int monitor_fd; /* our end of the SEQPACKET pair */
	int control_fd; /* our end of the agent's control connection */
	int client_source, monitor_source, control_source;
	int boot_timer, clock_timer;
	int signal_fd;
	pid_t monitor_pid;
	struct buf in;	  /* control bytes not parsed yet */
	struct buf out;	  /* control bytes the guest has not taken yet */
	bool unrecorded;  /* the database could not be written: again with the next clock message */
	bool guest_ready; /* the agent has said READY */
	bool reported;	  /* who started the sandbox was told how that went */

	/* Of one with a network. */
	int gateway_fd, gateway_source;
	size_t gateway_told; /* messages of its start that were sent */
	bool gateway_ready, gateway_counted;
	struct gateway_counters counters; /* the last */

	/* Of a persistent sandbox. */
	int listen_fd, listen_source;
	struct client *clients[CLIENTS_MAX];
	uint32_t last_id;
	bool was_attached;
	unsigned int next_file; /* of files/, to be sent */
	char once[32];		/* the one that is sent, if it is for the first boot only */
	struct output_log *log;
	struct lifetimes life;
	int idle_timer, squeeze_timer, stop_timer, stats_timer;
	struct msg_stats stats; /* the status that is asked for, as far as it is known */
	uint64_t disk_read_bytes, disk_written_bytes;
	bool stats_known, disk_known;
	int max_fd;	     /* timerfd on CLOCK_BOOTTIME */
	int64_t stop_due_ns; /* CLOCK_MONOTONIC: then by force */
	struct identity self;
	enum sandbox_state end_state;
	char end_reason[200];
};

/* supervisor.c */
/**
 * supervisor_end() - The machine is over, or will be at once: record how (the first reason counts), tell whoever is
 * connected, stop the loop. @sys_errno: ETIME: its time was over. @text: may be the guest's; cut here
 */
void supervisor_end(struct supervisor *s, enum sandbox_state state, enum msg_failure kind, int sys_errno,
		    const char *text);
/** supervisor_stop() - Shut the guest down in order, by force when the grace is over; 0: now. Again: the shorter one
 * counts. */
void supervisor_stop(struct supervisor *s, uint64_t grace_ms, const char *reason);
/** supervisor_send() - One frame to the agent's control connection. Return: false: no room. */
bool supervisor_send(struct supervisor *s, enum frame_type type, const struct buf *body);
/** supervisor_running() - Files are there and the command of its own, if any, has started: say so. */
void supervisor_running(struct supervisor *s);
/** supervisor_go_on() - Guest or gateway have become ready: go on, if both are. */
void supervisor_go_on(struct supervisor *s);
/** supervisor_set_timers() - After lifetimes changed. */
void supervisor_set_timers(struct supervisor *s);

/* gateway.c */
/**
 * gateway_start() - The monitor can do without a processor: start msb-gateway, if the sandbox has a network, once. It
 * is told everything as it reads. A failure ends the sandbox.
 */
void gateway_start(struct supervisor *s);
/** gateway_count() - Ask for the counters: control_counters() follows. Return: false: nobody to ask. */
bool gateway_count(struct supervisor *s);
/** gateway_forget() - In the monitor's process, or when all is handed over: close what is the gateway's. */
void gateway_forget(struct sandbox_network *n);

/* control.c */
/** control_listen() - sandboxes/NAME/control.sock. */
int control_listen(struct supervisor *s, struct error *err);
void control_close(struct supervisor *s);
/** control_request() - A whole frame of a client that has no session. Return: false: not one that is known. */
bool control_request(struct supervisor *s, struct client *c, const struct frame *f);
/** control_stats() - The agent told what it uses. */
void control_stats(struct supervisor *s, const struct frame *f);
/** control_counted() - The monitor told what the guest's disks have done. */
void control_counted(struct supervisor *s, const struct monitor_message *m);
/** control_counters() - The gateway told what it has passed on. */
void control_counters(struct supervisor *s);
/** control_pong() - The agent answered. */
void control_pong(struct supervisor *s);

/* clients.c */
enum client_kind {
	CLIENT_ASKING,	 /* has not said yet what it wants */
	CLIENT_SESSION,	 /* a command */
	CLIENT_TRANSFER, /* files: ends with its client */
	CLIENT_WAITING,	 /* for the end (a stop) */
	CLIENT_PINGING,
	CLIENT_STATUS,
};

struct client {
	struct supervisor *s;
	uint32_t id;
	enum client_kind kind;
	int fd, source;		 /* to the client; -1: gone, or never there */
	int guest, guest_source; /* to the agent */
	int feed;		 /* file of frames for the agent, of our own transfer; -1 */
	bool workload;		 /* the sandbox's own command: it ends with it */
	bool done;		 /* our own transfer has its answer */
	bool ended;		 /* nothing more will come: close when `out` is written */
	bool terminal;		 /* one stream of output */
	struct buf in, to_guest, from_guest, out;
	int64_t asked_ns;
};

/** client_new() - @fd: taken; -1: one of our own. Return: NULL when there are too many (fd is closed). */
struct client *client_new(struct supervisor *s, int fd);
/** client_answer() - A frame to the client. */
void client_answer(struct client *c, uint16_t type, const struct buf *body);
/** client_finish() - Close when what was said is written; may free it. */
void client_finish(struct client *c);
/** client_flush() - Watch for what it is waiting for now. */
void client_flush(struct client *c);
/** clients_own_files(), clients_own_command() - The sandbox's own sessions: its files one by one, then its command.
 * Return: false when there is none (any more). */
bool clients_own_files(struct supervisor *s);
bool clients_own_command(struct supervisor *s);
/** clients_ready() - Who asked before the guest was ready is served now. */
void clients_ready(struct supervisor *s);
/** clients_refused() - The guest did not take the connection of this session. */
void clients_refused(struct supervisor *s, uint32_t id);
/** clients_tell() - A frame to every client, best effort: the end comes. */
void clients_tell(struct supervisor *s, uint16_t type, const struct buf *body);
void clients_count(const struct supervisor *s, uint32_t *sessions, uint32_t *attached);
void clients_free(struct supervisor *s);

#endif
