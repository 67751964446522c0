/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/virtio/vhost_user.c src/virtio/rng.c src/virtio/device.c src/virtio/queue.c src/virtio/memory.c src/base/error.c src/base/fd.c src/base/log.c src/base/loop.c src/base/buf.c
/*
 * The input is a sequence of messages: request, a byte of choices (descriptor, flags, how much arrives at once), length,
 * payload; addresses that begin with 0xaa are moved into the memory, so that rings do start. An entropy device runs.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "virtio/transport.h"
#include "loop_pump.h"

#define MEM_SIZE 16384u
#define USER 0x10000u

static struct loop *loop;
static unsigned int closed;

static void on_closed(void *arg)
{
	(void)arg;
	if (++closed > 1)
		abort();
}

/** sealed_memory() - What QEMU passes, filled with the end of the input. */
static int sealed_memory(const uint8_t *data, size_t n)
{
	int fd = fd_memfd("ram", MEM_SIZE, true);

	if (fd < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 || pwrite(fd, data, MIN(n, MEM_SIZE), 0) < 0)
		abort();
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct virtio_device *dev;
	struct vhost_user *v;
	int pair[2], mem, event;
	uint64_t one = 1;

	log_setup(LOG_ERROR, STDERR_FILENO, NULL);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	closed = 0;
	loop = loop_new(NULL);
	dev = virtio_rng_new(loop, NULL);
	v = vhost_user_new(dev, pair[0], on_closed, NULL, NULL);
	mem = sealed_memory(data, n);
	event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (size_t i = 0; i + 3 <= n && !closed;) {
		uint8_t request = data[i], choice = data[i + 1], bytes[12 + 255], scrap[600];
		size_t len = MIN((size_t)data[i + 2], n - i - 3), cut;
		uint32_t head[3] = { request % 28, choice & 4 ? data[i] : (choice & 8 ? 9 : 1), (uint32_t)len };
		const int fds[3] = { mem, event, pair[1] };

		memcpy(bytes, head, 12);
		if (len)
			memcpy(bytes + 12, data + i + 3, len);
		for (size_t at = 12; at + 8 <= 12 + len; at += 8)
			if (bytes[at + 7] == 0xaa) {
				uint64_t address = USER + (bytes[at] | (uint64_t)bytes[at + 1] << 8) % MEM_SIZE;

				memcpy(bytes + at, &address, 8);
			}
		cut = choice & 16 ? 1 + choice % (12 + len) : 12 + len;
		cut = MIN(cut, 12 + len);
		i += 3 + len;
		if (fd_send_msg(pair[1], bytes, cut, &fds[(choice & 3) % 3], (choice & 3) == 3 ? 0 : 1) < 0)
			break;
		loop_pump(loop, 1);
		if (cut < 12 + len && !closed && fd_send_msg(pair[1], bytes + cut, 12 + len - cut, NULL, 0) == 0)
			loop_pump(loop, 1);
		if (choice & 32 && write(event, &one, sizeof(one)) == sizeof(one))
			loop_pump(loop, 1);
		while (recv(pair[1], scrap, sizeof(scrap), MSG_DONTWAIT) > 0)
			;
	}
	close(pair[1]);
	loop_pump(loop, 1);
	vhost_user_free(v);
	dev->ops->destroy(dev);
	loop_free(loop);
	close(mem);
	close(event);
	return 0;
}
