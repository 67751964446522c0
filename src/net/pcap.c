/* SPDX-License-Identifier: Apache-2.0 */
#include "net/pcap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/writer.h"

#define PACKET_HEAD 28 /* of an enhanced packet block */
#define PACKET_TAIL 16 /* flags, end of options, length again */
#define LINK_ETHERNET 1

enum block { BLOCK_SECTION = 0x0a0d0d0a, BLOCK_INTERFACE = 1, BLOCK_PACKET = 6 };
enum option { OPTION_END = 0, OPTION_FLAGS = 2, OPTION_RESOLUTION = 9 };
enum flag { FLAG_INBOUND = 1, FLAG_OUTBOUND = 2 };

struct pcap {
	int fd; /* -1: the file failed */
	uint64_t lost;
	size_t len;
	uint8_t data[PCAP_BUFFER_MAX];
};

static void put32(struct pcap *p, uint32_t v)
{
	put_le(p->data + p->len, v, 4);
	p->len += 4;
}

/** put_start() - Section header, and the one interface, whose times are in nanoseconds. */
static void put_start(struct pcap *p)
{
	put32(p, BLOCK_SECTION);
	put32(p, 28);
	put32(p, 0x1a2b3c4d); /* byte order */
	put32(p, 1);	      /* version 1.0 */
	put32(p, UINT32_MAX); /* section length: not known */
	put32(p, UINT32_MAX);
	put32(p, 28);
	put32(p, BLOCK_INTERFACE);
	put32(p, 32);
	put32(p, LINK_ETHERNET);
	put32(p, 0); /* frames are whole */
	put32(p, OPTION_RESOLUTION | 1 << 16);
	put32(p, 9); /* 10^-9 s */
	put32(p, OPTION_END);
	put32(p, 32);
}

void pcap_add(struct pcap *p, const struct iovec *iov, int count, size_t skip, bool from_guest)
{
	uint64_t now = (uint64_t)clock_realtime_ns();
	size_t n = 0, padded;

	if (p->fd < 0)
		return;
	for (int i = 0; i < count; i++)
		n += iov[i].iov_len;
	n -= skip;
	padded = ALIGN_UP(n, 4);
	if (sizeof(p->data) - p->len < PACKET_HEAD + padded + PACKET_TAIL)
		pcap_flush(p);
	if (sizeof(p->data) - p->len < PACKET_HEAD + padded + PACKET_TAIL) {
		p->lost++;
		return;
	}
	put32(p, BLOCK_PACKET);
	put32(p, (uint32_t)(PACKET_HEAD + padded + PACKET_TAIL));
	put32(p, 0); /* interface */
	put32(p, (uint32_t)(now >> 32));
	put32(p, (uint32_t)now);
	put32(p, (uint32_t)n);
	put32(p, (uint32_t)n);
	for (int i = 0; i < count; i++) {
		size_t here = iov[i].iov_len - skip;

		memcpy(p->data + p->len, (const uint8_t *)iov[i].iov_base + skip, here);
		p->len += here;
		skip = 0;
	}
	memset(p->data + p->len, 0, padded - n);
	p->len += padded - n;
	put32(p, OPTION_FLAGS | 4 << 16);
	put32(p, from_guest ? FLAG_OUTBOUND : FLAG_INBOUND);
	put32(p, OPTION_END);
	put32(p, (uint32_t)(PACKET_HEAD + padded + PACKET_TAIL));
}

bool pcap_flush(struct pcap *p)
{
	size_t done = 0;

	while (p->fd >= 0 && done < p->len) {
		ssize_t n = write(p->fd, p->data + done, p->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			log_warn(LOG_NET, "the capture ends: %s", strerror(errno));
			fd_close(&p->fd);
			break;
		}
		done += (size_t)n;
	}
	if (p->fd < 0)
		p->len = done = 0;
	memmove(p->data, p->data + done, p->len - done);
	p->len -= done;
	return p->len > 0;
}

struct pcap *pcap_new(int fd, struct error *err)
{
	struct pcap *p = calloc(1, sizeof(*p));

	if (!p) {
		fd_close(&fd);
		err_set(err, ERR_NO_MEMORY, 0, "capture: out of memory");
		return NULL;
	}
	p->fd = fd;
	put_start(p);
	pcap_flush(p);
	return p;
}

void pcap_free(struct pcap *p)
{
	if (!p)
		return;
	pcap_flush(p);
	if (p->lost)
		log_warn(LOG_NET, "the capture lacks %llu frames that its file did not take",
			 (unsigned long long)p->lost);
	fd_close(&p->fd);
	free(p);
}
