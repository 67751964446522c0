/* SPDX-License-Identifier: Apache-2.0 */
#include "image/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"

int fetch_open(int control_fd, struct error *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, ERR_SYSTEM, errno, "socketpair");
	if (fd_send_msg(control_fd, "c", 1, &pair[1], 1) < 0) {
		err_set(err, ERR_CLOSED, errno, "msb-registry, the program that speaks with registries, is gone");
		fd_close(&pair[0]);
	}
	fd_close(&pair[1]);
	return pair[0] < 0 ? -(int)ERR_CLOSED : pair[0];
}

int fetch_ask(int channel, enum fetch_kind kind, const char *name, uint64_t offset, uint64_t size, int file,
	      struct error *err)
{
	struct fetch_request q = { .kind = (uint32_t)kind, .offset = offset, .size = size };

	if (snprintf(q.name, sizeof(q.name), "%s", name) >= (int)sizeof(q.name))
		return err_set(err, ERR_LIMIT, 0, "the tag is too long");
	if (fd_send_msg(channel, &q, sizeof(q), &file, file < 0 ? 0 : 1) < 0)
		return err_set(err, ERR_CLOSED, errno,
			       "msb-registry, the program that speaks with registries, is gone");
	return 0;
}

/** broken() - The other side ended or does not keep to the protocol. */
static int broken(struct error *err)
{
	return err_set(err, ERR_CLOSED, 0, "msb-registry, the program that speaks with registries, ended unexpectedly");
}

ssize_t fetch_next(int channel, struct fetch_info *info, void *to, uint64_t *stored, bool *end,
		   void (*note)(void *arg, const char *text), void *arg, struct error *err)
{
	struct error unwanted = ERROR_INIT;
	struct fetch_failure f;
	struct fetch_frame h;
	char text[512];

	err = err ? err : &unwanted;
	*end = false;
	for (;;) {
		if (fd_read_full(channel, &h, sizeof(h)) != sizeof(h))
			return broken(err);
		switch (h.type) {
		case FETCH_NOTE:
			if (h.length >= sizeof(text) || fd_read_full(channel, text, h.length) != (ssize_t)h.length)
				return broken(err);
			text[h.length] = '\0';
			if (note)
				note(arg, text);
			continue;
		case FETCH_INFO:
			if (h.length != sizeof(*info) || fd_read_full(channel, info, sizeof(*info)) != sizeof(*info))
				return broken(err);
			info->digest[sizeof(info->digest) - 1] = info->media_type[sizeof(info->media_type) - 1] = '\0';
			info->source[sizeof(info->source) - 1] = '\0';
			return 0;
		case FETCH_BYTES:
			if (h.length == 0 || h.length > FETCH_BYTES_MAX ||
			    fd_read_full(channel, to, h.length) != (ssize_t)h.length)
				return broken(err);
			return (ssize_t)h.length;
		case FETCH_STORED:
			if (!stored || h.length != sizeof(*stored) ||
			    fd_read_full(channel, stored, sizeof(*stored)) != sizeof(*stored))
				return broken(err);
			return 0;
		case FETCH_END:
			*end = true;
			return h.length ? broken(err) : 0;
		case FETCH_FAILED:
			if (h.length != sizeof(f) || fd_read_full(channel, &f, sizeof(f)) != sizeof(f) ||
			    f.code == ERR_NONE || f.code >= ERR_CODE_COUNT)
				return broken(err);
			err_set(err, (enum err_code)f.code, 0, "%.479s", f.text);
			f.hint[sizeof(f.hint) - 1] = '\0';
			return f.hint[0] ? err_hint(err, "%s", f.hint) : -(int)err->code;
		default:
			return broken(err);
		}
	}
}

bool fetch_distrust(int channel)
{
	static uint8_t nothing[FETCH_BYTES_MAX];
	struct fetch_info info;
	bool end;

	return fetch_ask(channel, FETCH_DISTRUST, "", 0, 0, -1, NULL) == 0 &&
	       fetch_next(channel, &info, nothing, NULL, &end, NULL, NULL, NULL) == 0 && end;
}
