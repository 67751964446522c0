/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/file_io.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/macros.h"

int iov_take(struct iov_cursor *c, uint64_t n, struct iovec part[FILE_IO_IOVS], uint64_t *taken)
{
	int parts = 0;

	*taken = 0;
	while (c->count && n && parts < FILE_IO_IOVS) {
		size_t len = MIN(c->iov->iov_len - c->used, n);

		if (len)
			part[parts++] = (struct iovec){ (uint8_t *)c->iov->iov_base + c->used, len };
		c->used += len;
		n -= len;
		*taken += len;
		if (c->used == c->iov->iov_len) {
			c->iov++;
			c->count--;
			c->used = 0;
		}
	}
	return parts;
}

uint64_t iov_bytes(const struct iovec *iov, int count)
{
	uint64_t sum = 0;

	for (int i = 0; i < count; i++)
		sum += iov[i].iov_len;
	return sum;
}

void iov_zero(const struct iovec *iov, int count)
{
	for (int i = 0; i < count; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
}

void iov_copy(const struct iovec *iov, int count, const uint8_t *from)
{
	for (int i = 0; i < count; i++) {
		memcpy(iov[i].iov_base, from, iov[i].iov_len);
		from += iov[i].iov_len;
	}
}

/** advance() - Drop n bytes from the front of part. Return: pieces left, moved to the front. */
static int advance(struct iovec *part, int count, size_t n)
{
	int left = 0;

	for (int i = 0; i < count; i++) {
		size_t done = MIN(n, part[i].iov_len);

		n -= done;
		if (done < part[i].iov_len)
			part[left++] = (struct iovec){ (uint8_t *)part[i].iov_base + done, part[i].iov_len - done };
	}
	return left;
}

int file_io(int fd, const struct iovec *iov, int count, uint64_t offset, bool write)
{
	struct iov_cursor at = { iov, count, 0 };
	struct iovec part[FILE_IO_IOVS];

	for (;;) {
		uint64_t taken;
		int n = iov_take(&at, SSIZE_MAX, part, &taken);

		if (n == 0)
			return 0;
		while (n) {
			ssize_t r = write ? pwritev(fd, part, n, (off_t)offset) : preadv(fd, part, n, (off_t)offset);

			if (r < 0 && errno == EINTR)
				continue;
			if (r < 0)
				return -errno;
			if (r == 0 && write)
				return -EIO;
			if (r == 0) {
				iov_zero(part, n);
				break;
			}
			offset += (uint64_t)r;
			n = advance(part, n, (size_t)r);
		}
	}
}
