/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/frame.h"

#include "base/reader.h"
#include "base/writer.h"

enum frame_result frame_parse(const uint8_t *p, size_t n, struct frame *out, size_t *used)
{
	struct reader r = reader_init(p, n);
	uint32_t len = reader_u32(&r);

	out->type = reader_u16(&r);
	if (n >= 8 && reader_u16(&r) != 0)
		return FRAME_BAD;
	if (n >= 4 && len > FRAME_BODY_MAX)
		return FRAME_BAD;
	if (n < FRAME_HEADER_SIZE)
		return FRAME_MORE;
	out->session = reader_u32(&r);
	out->body_len = len;
	out->body = reader_bytes(&r, len);
	if (!out->body)
		return FRAME_MORE;
	*used = FRAME_HEADER_SIZE + (size_t)len;
	return FRAME_OK;
}

void frame_header(uint8_t to[FRAME_HEADER_SIZE], uint16_t type, uint32_t session, size_t body_len)
{
	put_le(to, body_len, 4);
	put_le(to + 4, type, 2);
	put_le(to + 6, 0, 2);
	put_le(to + 8, session, 4);
}

bool frame_append(struct buf *out, uint16_t type, uint32_t session, const void *body, size_t body_len)
{
	uint8_t header[FRAME_HEADER_SIZE];

	if (body_len > FRAME_BODY_MAX)
		return false;
	frame_header(header, type, session, body_len);
	return buf_append(out, header, sizeof(header)) && buf_append(out, body, body_len);
}
