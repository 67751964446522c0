/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. One thread: client_step() waits for the network and for the channels. A channel has at most one
 * exchange. What its socket does not take at once is kept in `out`; while there is anything in it, the exchange gets no
 * more bytes (curl stops reading, and the registry's sending stops with it): so a channel holds two chunks of
 * HTTP_CHUNK_MAX at most, or one manifest. A blob with a file to go to is not held up. The other side is msb-image,
 * which reads archives of strangers: its requests are checked, and one that breaks the protocol loses its channel. When
 * configuration or credentials cannot be read, each request is answered with that failure: so there is one error for
 * the user, printed by one program.
 */
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "registry/commands.h"

#define OUT_MAX (MANIFEST_BYTES_MAX + MIB(1))
#define PIECE_MAX FETCH_BYTES_MAX /* written to a file at once: the larger, the fewer pages to look after */

struct channel {
	int fd; /* -1: free */
	bool busy, broken;
	struct fetch_request request;
	size_t got; /* of the request */
	struct exchange x;
	struct buf out;
	size_t out_at;
	struct buf piece;      /* not yet in the file */
	int file;	       /* where a blob's bytes go; -1: through the channel */
	uint64_t stored, told; /* how far they go there, and what the other side knows of it */
};

struct server {
	struct client *client;
	struct error refusal; /* why nothing can be asked for, if that is so */
	struct channel channel[FETCH_CHANNELS_MAX];
};

/** close_channel() - And forget what it asked for. */
static void close_channel(struct channel *c)
{
	if (c->busy)
		exchange_cancel(&c->x);
	fd_close(&c->fd);
	fd_close(&c->file);
	buf_free(&c->out);
	buf_free(&c->piece);
	*c = (struct channel){ .fd = -1, .file = -1 };
}

/** send_frame() - At once as far as the socket takes it, the rest later. */
static void send_frame(struct channel *c, enum fetch_frame_type type, const void *p, size_t n)
{
	struct fetch_frame h = { .type = type, .length = (uint32_t)n };
	struct iovec iov[2] = { { &h, sizeof(h) }, { (void *)(uintptr_t)p, n } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	size_t sent = 0, head;

	if (c->out.len == 0 && !c->broken) {
		ssize_t r = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		c->broken = r < 0 && errno != EAGAIN && errno != EINTR;
		sent = r < 0 ? 0 : (size_t)r;
	}
	head = MIN(sent, sizeof(h));
	buf_append(&c->out, (const uint8_t *)&h + head, sizeof(h) - head);
	sent -= head;
	buf_append(&c->out, (const uint8_t *)p + sent, n - sent);
	c->broken |= c->out.failed;
}

/** tell() - How far the file goes, if that is news. */
static void tell(struct channel *c)
{
	if (c->told == c->stored)
		return;
	c->told = c->stored;
	send_frame(c, FETCH_STORED, &c->stored, sizeof(c->stored));
}

/** store() - What was collected for the file. Return: false when it takes no more: then the channel has it. */
static bool store(struct channel *c)
{
	if (c->file < 0 || fd_pwrite_full(c->file, c->piece.data, c->piece.len, (off_t)c->stored) == 0) {
		c->stored += c->piece.len;
		c->piece.len = 0;
		return true;
	}
	fd_close(&c->file);
	tell(c);
	send_frame(c, FETCH_BYTES, c->piece.data, c->piece.len);
	buf_free(&c->piece);
	return false;
}

/** on_note(), on_info(), on_bytes(), on_done() - Of a channel's exchange. */
static void on_note(void *arg, const char *text)
{
	send_frame(arg, FETCH_NOTE, text, strlen(text));
}

static void on_info(void *arg, const struct fetch_info *info)
{
	send_frame(arg, FETCH_INFO, info, sizeof(*info));
}

static bool on_bytes(void *arg, const uint8_t *p, size_t n)
{
	struct channel *c = arg;

	if (c->file >= 0 && (c->piece.len + n <= PIECE_MAX || store(c))) {
		c->broken |= !buf_append(&c->piece, p, n);
		return true;
	}
	if (c->out.len && c->x.kind == EXCHANGE_BLOB)
		return false;
	for (size_t at = 0, part; at < n; at += part) {
		part = MIN(n - at, FETCH_BYTES_MAX);
		send_frame(c, FETCH_BYTES, p + at, part);
	}
	return true;
}

static void on_done(void *arg, const struct error *err)
{
	struct channel *c = arg;
	struct fetch_failure f = { .code = err ? err->code : ERR_NONE };

	c->busy = false;
	if (store(c))
		tell(c);
	fd_close(&c->file);
	if (!err) {
		send_frame(c, FETCH_END, "", 0);
		return;
	}
	snprintf(f.text, sizeof(f.text), "%s", err->text);
	snprintf(f.hint, sizeof(f.hint), "%s", err->hint);
	send_frame(c, FETCH_FAILED, &f, sizeof(f));
}

static const struct exchange_ops ops = { .note = on_note, .info = on_info, .bytes = on_bytes, .done = on_done };

/** is_digest() - sha256:HEX. */
static bool is_digest(const char *s)
{
	return strncmp(s, "sha256:", 7) == 0 && strspn(s + 7, "0123456789abcdef") == DIGEST_HEX && !s[7 + DIGEST_HEX];
}

/** is_sound() - Is this a request that the protocol allows? The name goes into a URL. */
static bool is_sound(const struct fetch_request *q)
{
	if (q->zero || !memchr(q->name, '\0', sizeof(q->name)) || q->size > INT64_MAX)
		return false;
	if (q->kind == FETCH_DISTRUST)
		return !q->name[0] && !q->offset && !q->size;
	if (q->kind == FETCH_BLOB)
		return is_digest(q->name) && q->offset <= q->size;
	if ((q->kind != FETCH_HEAD && q->kind != FETCH_MANIFEST) || q->offset || !q->name[0])
		return false;
	for (const char *p = q->name; *p && !is_digest(q->name); p++)
		if (!isalnum((unsigned char)*p) && (!strchr("._-", *p) || p == q->name) && *p != '_')
			return false;
	return true;
}

/** distrust() - Whoever answered last on this channel lied; a mirror is not asked again. */
static void distrust(struct channel *c)
{
	struct endpoint *e = c->x.client ? &c->x.client->endpoint[c->x.endpoint] : NULL;
	struct error nobody = ERROR_INIT;

	if (e && e->mirror) {
		e->down = true;
		on_done(c, NULL);
		return;
	}
	err_set(&nobody, ERR_NOT_FOUND, 0, "there is no other source");
	on_done(c, &nobody);
}

/** take_file() - The one that came with a request. */
static void take_file(struct channel *c, int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (c->file < 0 && !c->busy)
			c->file = TAKE_FD(fds[i]);
		else
			fd_close(&fds[i]);
}

/** file_is_sound() - Where there is one, writing to it cannot block. */
static bool file_is_sound(const struct channel *c)
{
	struct stat st;

	return c->file < 0 || (c->request.kind == FETCH_BLOB && fstat(c->file, &st) == 0 && S_ISREG(st.st_mode));
}

/** read_request() - The channel has something to read: (a part of) a request, or its end. */
static void read_request(struct server *s, struct channel *c)
{
	int fds[FD_PASS_MAX];
	size_t count;
	ssize_t n = fd_recv_msg(c->fd, (char *)&c->request + c->got, sizeof(c->request) - c->got, fds, &count);

	if (n < 0 && errno == EAGAIN)
		return;
	take_file(c, fds, count);
	if (n <= 0 || c->busy) { /* one request at a time */
		c->broken = true;
		return;
	}
	c->got += (size_t)n;
	if (c->got < sizeof(c->request))
		return;
	c->got = 0;
	if (!is_sound(&c->request) || !file_is_sound(c)) {
		c->broken = true;
		return;
	}
	if (s->refusal.code != ERR_NONE) {
		on_done(c, &s->refusal);
		return;
	}
	if (c->request.kind == FETCH_DISTRUST) {
		distrust(c);
		return;
	}
	c->x.kind = (enum exchange_kind)c->request.kind;
	memcpy(c->x.name, c->request.name, sizeof(c->x.name));
	c->x.at = c->request.offset;
	c->x.size = c->request.size;
	c->stored = c->told = c->request.offset;
	c->x.ops = &ops;
	c->x.arg = c;
	c->busy = true;
	exchange_start(s->client, &c->x);
}

/** flush() - The socket takes more. */
static void flush(struct channel *c)
{
	ssize_t n = send(c->fd, c->out.data + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0) {
		c->broken = errno != EAGAIN && errno != EINTR;
		return;
	}
	c->out_at += (size_t)n;
	if (c->out_at < c->out.len)
		return;
	if (c->out.cap > 2 * HTTP_CHUNK_MAX)
		buf_free(&c->out); /* a manifest was in it */
	c->out.len = c->out_at = 0;
	if (c->busy)
		exchange_resume(&c->x);
}

/** accept_channel() - A message on the control socket. Return: false at its end. */
static bool accept_channel(struct server *s)
{
	int fds[FD_PASS_MAX], type = 0;
	socklen_t len = sizeof(type);
	size_t count;
	char byte;
	ssize_t n = fd_recv_msg(FETCH_CONTROL_FD, &byte, 1, fds, &count);

	if (n < 0)
		return errno == EMSGSIZE; /* too long a message: its descriptors are closed */
	for (size_t i = 0; i < count; i++) {
		struct channel *c = s->channel;

		while (c < s->channel + FETCH_CHANNELS_MAX && c->fd >= 0)
			c++;
		if (c == s->channel + FETCH_CHANNELS_MAX || getsockopt(fds[i], SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
		    type != SOCK_STREAM || fd_set_nonblock(fds[i], true) < 0) {
			fd_close(&fds[i]);
			continue;
		}
		*c = (struct channel){
			.fd = fds[i], .file = -1, .out = BUF_INIT(OUT_MAX), .piece = BUF_INIT(PIECE_MAX)
		};
	}
	return n > 0;
}

/** run() - Until the control socket ends. */
static int run(struct server *s, struct error *err)
{
	struct curl_waitfd fds[FETCH_CHANNELS_MAX + 1];
	struct channel *of[FETCH_CHANNELS_MAX + 1];
	unsigned int count;

	for (;;) {
		fds[0] = (struct curl_waitfd){ .fd = FETCH_CONTROL_FD, .events = CURL_WAIT_POLLIN };
		count = 1;
		for (struct channel *c = s->channel; c < s->channel + FETCH_CHANNELS_MAX; c++) {
			if (c->fd < 0)
				continue;
			fds[count] = (struct curl_waitfd){ .fd = c->fd, .events = CURL_WAIT_POLLIN };
			if (c->out.len)
				fds[count].events |= CURL_WAIT_POLLOUT;
			of[count++] = c;
		}
		if (client_step(s->client, fds, count, 60000, err) < 0)
			return -(int)err->code;
		for (unsigned int i = 1; i < count; i++) {
			if (!of[i]->broken && (fds[i].revents & CURL_WAIT_POLLOUT) && of[i]->out.len)
				flush(of[i]);
			if (!of[i]->broken && (fds[i].revents & CURL_WAIT_POLLIN))
				read_request(s, of[i]);
			if (!of[i]->broken && !of[i]->out.len && store(of[i]))
				tell(of[i]);
			if (of[i]->broken)
				close_channel(of[i]);
		}
		if ((fds[0].revents & CURL_WAIT_POLLIN) && !accept_channel(s))
			return 0;
	}
}

int serve(const char *home, const char *reference, const struct client_options *options, struct error *err)
{
	struct server *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	fd_set_cloexec(FETCH_CONTROL_FD, true); /* not for docker's credential helpers */
	for (size_t i = 0; i < FETCH_CHANNELS_MAX; i++)
		s->channel[i].fd = s->channel[i].file = -1;
	s->client = client_new(home, reference, options, &s->refusal);
	if (!s->client)
		s->client = client_new_idle(err);
	/* Ctrl-C is for msb-image, with whose socket this ends; docker's helpers, which ask users, have been asked. */
	signal(SIGINT, SIG_IGN);
	rc = s->client ? confine_client(err) : -(int)err->code;
	if (rc == 0)
		rc = run(s, err);
	for (size_t i = 0; i < FETCH_CHANNELS_MAX; i++)
		close_channel(&s->channel[i]);
	client_free(s->client);
	free(s);
	return rc;
}
