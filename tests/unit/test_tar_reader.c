/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "image/tar.h"
#include "tar_builder.h"

/** What a reader gave: a line for each event, contents one after the other, and the stream put together again. */
struct seen {
	struct buf text, stream;
	uint64_t from, to; /* the run of contents that may go on */
};

static void end_run(struct seen *s)
{
	if (s->to > s->from)
		assert_true(buf_printf(&s->text, "  data %llu-%llu\n", (unsigned long long)s->from, (unsigned long long)s->to));
	s->from = s->to = 0;
}

static int on_entry(void *arg, const struct tar_entry *e, struct error *err)
{
	static const char *const types[] = { "file", "folder", "symlink", "hardlink", "char", "block", "fifo" };
	struct seen *s = arg;

	(void)err;
	assert_true(buf_printf(&s->text, "%s %s", types[e->type], e->path));
	if (e->link[0])
		assert_true(buf_printf(&s->text, " -> %s", e->link));
	assert_true(buf_printf(&s->text, " %o %llu:%llu %lld.%09u size %llu", e->mode, (unsigned long long)e->uid,
			       (unsigned long long)e->gid, (long long)e->mtime_s, e->mtime_ns, (unsigned long long)e->size));
	if (e->major || e->minor)
		assert_true(buf_printf(&s->text, " dev %u:%u", e->major, e->minor));
	for (size_t i = 0; i < e->xattr_count; i++)
		assert_true(buf_printf(&s->text, " %s=%zu", e->xattrs[i].name, e->xattrs[i].size));
	assert_true(buf_append_str(&s->text, "\n"));
	return 0;
}

static int on_data(void *arg, uint64_t offset, const uint8_t *p, size_t n, struct error *err)
{
	struct seen *s = arg;

	(void)err;
	assert_true(n > 0);
	if (offset != s->to || s->to == s->from) {
		assert_true(offset >= s->to);
		end_run(s);
		s->from = offset;
	}
	s->to = offset + n;
	assert_true(buf_append(&s->stream, p, n));
	return 0;
}

static int on_end(void *arg, struct error *err)
{
	(void)err;
	end_run(arg);
	return 0;
}

static int on_frame(void *arg, const uint8_t *p, size_t n, struct error *err)
{
	struct seen *s = arg;

	(void)err;
	assert_true(buf_append(&s->stream, p, n));
	return 0;
}

static const struct tar_sink sink = { .entry = on_entry, .data = on_data, .end = on_end, .frame = on_frame };

/** read_in() - A whole stream in pieces of so many bytes (0: of all sizes). */
static int read_in(const struct buf *b, size_t piece, struct seen *s, struct error *err)
{
	struct tar *t = tar_new(&sink, s);
	unsigned int seed = 7;
	size_t at = 0;
	int rc = 0;

	assert_non_null(t);
	*s = (struct seen){ .text = BUF_INIT(1 << 20), .stream = BUF_INIT(8 << 20) };
	while (rc == 0 && at < b->len) {
		size_t n = piece ? piece : (seed = seed * 1103515245 + 12345) >> 16 & 0x3ff;

		n = MIN(n, b->len - at);
		rc = tar_feed(t, b->data + at, n, err);
		at += n;
	}
	if (rc == 0)
		rc = tar_finish(t, err);
	tar_free(t);
	return rc;
}

static void drop(struct seen *s)
{
	buf_free(&s->text);
	buf_free(&s->stream);
}

/** expect() - Read whole, byte by byte and in odd pieces: these events, and every byte given back. Empties b. */
static void expect(struct buf *b, const char *events)
{
	static const size_t pieces[] = { 1 << 20, 1, 511, 513, 0 };

	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		struct error err = ERROR_INIT;
		struct seen s;

		assert_int_equal(read_in(b, pieces[i], &s, &err), 0);
		assert_string_equal(buf_cstr(&s.text), events);
		assert_int_equal(s.stream.len, b->len);
		assert_memory_equal(s.stream.data, b->data, b->len);
		drop(&s);
	}
	b->len = 0;
}

/** refuse() - Whole and byte by byte: this error. Empties b. */
static void refuse(struct buf *b, enum err_code code, const char *words)
{
	static const size_t pieces[] = { 1 << 20, 1, 0 };

	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		struct error err = ERROR_INIT;
		struct seen s;

		assert_int_equal(read_in(b, pieces[i], &s, &err), -(int)code);
		if (!strstr(err.text, words))
			fail_msg("\"%s\" does not say \"%s\"", err.text, words);
		drop(&s);
	}
	b->len = 0;
}

/** plain() - V7, ustar with and without prefix, star; types; sizes that mean nothing. */
static void plain(void **state)
{
	struct buf b = BUF_INIT(1 << 20);
	char p[156] = "", q[132] = "", t[101] = "", want[2000];
	uint8_t h[512], body[1300];

	(void)state;
	memset(body, 'b', sizeof(body));
	tar_start(h, "v7", '\0', 3, NULL);
	tar_octal(h + 108, 8, 07777777);
	tar_octal(h + 136, 12, 0777777777);
	tar_put(&b, h, "abc", 3);
	tar_start(h, "v7/", '\0', 0, NULL);
	tar_put(&b, h, NULL, 0);
	tar_start(h, "name", '0', 1300, USTAR_MAGIC);
	memcpy(h + 345, "some/prefix", 11);
	tar_put(&b, h, body, 1300);
	tar_start(h, "name", '7', 512, USTAR_MAGIC);
	memset(h + 345, 'p', 155);
	tar_put(&b, h, body, 512);
	tar_start(h, "star", '0', 0, USTAR_MAGIC);
	memset(h + 345, 'q', 131);
	memset(h + 345 + 131, '0', 24); /* times, no prefix */
	memcpy(h + 508, "tar", 4);
	tar_put(&b, h, NULL, 0);
	tar_start(h, "d/", '5', 99, USTAR_MAGIC);
	tar_put(&b, h, NULL, 0);
	tar_start(h, "l", '2', 99, USTAR_MAGIC);
	memset(h + 157, 't', 100);
	tar_put(&b, h, NULL, 0);
	tar_simple(&b, "h", '1', "l", NULL, 0);
	tar_start(h, "h2", '1', 1000, USTAR_MAGIC);
	h[157] = 'l';
	tar_put(&b, h, NULL, 0);
	tar_start(h, "c", '3', 0, USTAR_MAGIC);
	tar_octal(h + 329, 8, 4095);
	tar_octal(h + 337, 8, 1048575);
	tar_put(&b, h, NULL, 0);
	tar_start(h, "b", '4', 0, USTAR_MAGIC);
	tar_octal(h + 329, 8, 8);
	tar_put(&b, h, NULL, 0);
	tar_simple(&b, "f", '6', "", NULL, 0);
	tar_end(&b);
	assert_true(buf_append(&b, "what follows the end is kept", 28));
	memset(p, 'p', 155);
	memset(q, 'q', 131);
	memset(t, 't', 100);
	snprintf(want, sizeof(want),
		 "file v7 644 2097151:0 134217727.000000000 size 3\n  data 0-3\n"
		 "folder v7/ 644 0:0 0.000000000 size 0\n"
		 "file some/prefix/name 644 0:0 0.000000000 size 1300\n  data 0-1300\n"
		 "file %s/name 644 0:0 0.000000000 size 512\n  data 0-512\n"
		 "file %s/star 644 0:0 0.000000000 size 0\n"
		 "folder d/ 644 0:0 0.000000000 size 0\n"
		 "symlink l -> %s 644 0:0 0.000000000 size 0\n"
		 "hardlink h -> l 644 0:0 0.000000000 size 0\n"
		 "hardlink h2 -> l 644 0:0 0.000000000 size 0\n"
		 "char c 644 0:0 0.000000000 size 0 dev 4095:1048575\n"
		 "block b 644 0:0 0.000000000 size 0 dev 8:0\n"
		 "fifo f 644 0:0 0.000000000 size 0\n", p, q, t);
	expect(&b, want);
	buf_free(&b);
}

/** fields() - How numbers are written. */
static void fields(void **state)
{
	struct buf b = BUF_INIT(1 << 20);
	uint8_t h[512];

	(void)state;
	tar_start(h, "spaces", '0', 0, USTAR_MAGIC);
	memcpy(h + 100, "   644 \0", 8);
	memcpy(h + 108, "00000144", 8); /* no end */
	memset(h + 116, 0, 8);		/* empty is 0 */
	memcpy(h + 136, "        17 \0", 12);
	tar_put(&b, h, NULL, 0);
	tar_start(h, "base256", '0', 0, GNU_MAGIC);
	memcpy(h + 108, "\x80\0\0\0\xee\x6b\x28\0", 8);
	memcpy(h + 124, "\x80\0\0\0\0\0\0\0\0\0\0\x05", 12);
	memcpy(h + 136, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12);
	tar_put(&b, h, "12345", 5);
	tar_start(h, "signed", '0', 0, USTAR_MAGIC);
	h[10] = 0xff;
	tar_seal(h);
	/* A checksum of signed bytes, as some old programs made it. */
	tar_octal(h + 148, 7, strtoul((char *)h + 148, NULL, 8) - 256);
	assert_true(buf_append(&b, h, 512));
	expect(&b, "file spaces 644 100:0 15.000000000 size 0\n"
		   "file base256 644 4000000000:0 -2.000000000 size 5\n  data 0-5\n"
		   "file signed 644 0:0 0.000000000 size 0\n");
	buf_free(&b);
}

/** pax() - Records win over the header, the last of two wins, an empty one says nothing, global ones are passed over. */
static void pax(void **state)
{
	struct buf b = BUF_INIT(1 << 20), x = BUF_INIT(1 << 20);

	(void)state;
	tar_text_record(&x, "path", "first");
	tar_text_record(&x, "path", "the/path/\xff");
	tar_text_record(&x, "uid", "4000000000");
	tar_text_record(&x, "gid", "7");
	tar_text_record(&x, "mtime", "-1.25");
	tar_text_record(&x, "comment", "equals=and\nline ends");
	tar_record(&x, "SCHILY.xattr.security.capability", "\1\0\0\2\0\n=\0", 8);
	tar_record(&x, "SCHILY.xattr.user.empty", "", 0);
	tar_record(&x, "SCHILY.xattr.user.twice", "1", 1);
	tar_record(&x, "SCHILY.xattr.user.twice", "22", 2);
	tar_record(&x, "SCHILY.xattr.", "no name", 7);
	tar_special(&b, 'x', x.data, x.len);
	tar_simple(&b, "short", '0', "", "abc", 3);
	tar_simple(&b, "next", '0', "", NULL, 0); /* nothing stays */
	tar_special(&b, 'g', "16 path=for-all\n", 16);
	tar_pax(&b, "linkpath", "target");
	tar_simple(&b, "link", '2', "x", NULL, 0);
	x.len = 0;
	tar_text_record(&x, "path", "");
	tar_text_record(&x, "size", "");
	tar_special(&b, 'x', x.data, x.len);
	tar_simple(&b, "own", '0', "", "ab", 2);
	tar_special(&b, 'x', NULL, 0);
	tar_simple(&b, "after-an-empty-one", '0', "", NULL, 0);
	/* The first of two headers in a row is replaced. */
	tar_pax(&b, "path", "lost");
	tar_pax(&b, "uid", "3");
	tar_simple(&b, "second", '0', "", NULL, 0);
	expect(&b, "file the/path/\xff 644 4000000000:7 -2.750000000 size 3 security.capability=8 user.empty=0 user.twice=2\n  data 0-3\n"
		   "file next 644 0:0 0.000000000 size 0\n"
		   "symlink link -> target 644 0:0 0.000000000 size 0\n"
		   "file own 644 0:0 0.000000000 size 2\n  data 0-2\n"
		   "file after-an-empty-one 644 0:0 0.000000000 size 0\n"
		   "file second 644 3:0 0.000000000 size 0\n");
	buf_free(&x);
	buf_free(&b);
}

/** times() - Of pax records: to the nanosecond, further digits cut off. */
static void times(void **state)
{
	static const struct { const char *text, *read; } cases[] = {
		{ "0", "0.000000000" }, { "-1", "-1.000000000" }, { "1.5", "1.500000000" }, { "-0.5", "-1.500000000" },
		{ "7.", "7.000000000" }, { "1.1234567899", "1.123456789" }, { "-1.0000000001", "-1.000000000" },
		{ "-3.999999999999", "-4.000000001" }, { "9223372036854775807", "9223372036854775807.000000000" },
		{ "-9223372036854775807", "-9223372036854775807.000000000" },
	};
	static const char *const bad[] = { "x", "1.x", "-", "--1", "1e3", "9223372036854775808", " 1", "1 ", "1.-5" };
	struct buf b = BUF_INIT(1 << 20);
	char want[100];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		tar_pax(&b, "mtime", cases[i].text);
		tar_simple(&b, "f", '0', "", NULL, 0);
		snprintf(want, sizeof(want), "file f 644 0:0 %s size 0\n", cases[i].read);
		expect(&b, want);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		tar_pax(&b, "mtime", bad[i]);
		tar_simple(&b, "f", '0', "", NULL, 0);
		refuse(&b, ERR_INVALID, "mtime");
	}
	buf_free(&b);
}

/** gnu() - Long names of both kinds, which win over a pax path. */
static void gnu(void **state)
{
	struct buf b = BUF_INIT(1 << 20);
	char name[300], link[300], want[800];

	(void)state;
	memset(name, 'n', 299);
	memset(link, 'l', 299);
	name[299] = link[299] = '\0';
	tar_special(&b, 'K', link, 300);
	tar_special(&b, 'L', name, 300);
	tar_simple(&b, "short", '2', "short", NULL, 0);
	tar_special(&b, 'L', "no NUL at the end", 17);
	tar_simple(&b, "short", '0', "", NULL, 0);
	tar_pax(&b, "path", "pax");
	tar_special(&b, 'L', "gnu", 4);
	tar_simple(&b, "ustar", '0', "", NULL, 0);
	tar_special(&b, 'L', "gnu", 4);
	tar_pax(&b, "path", "pax");
	tar_simple(&b, "ustar", '0', "", NULL, 0);
	tar_special(&b, 'L', "two", 4);
	tar_special(&b, 'L', "names", 6);
	tar_simple(&b, "ustar", '0', "", NULL, 0);
	snprintf(want, sizeof(want),
		 "symlink %s -> %s 644 0:0 0.000000000 size 0\n"
		 "file no NUL at the end 644 0:0 0.000000000 size 0\n"
		 "file gnu 644 0:0 0.000000000 size 0\n"
		 "file gnu 644 0:0 0.000000000 size 0\n"
		 "file names 644 0:0 0.000000000 size 0\n", name, link);
	expect(&b, want);
	tar_special(&b, 'L', "a\0b", 4);
	tar_simple(&b, "f", '0', "", NULL, 0);
	refuse(&b, ERR_INVALID, "NUL");
	buf_free(&b);
}

/** desync() - A size of pax and one of the header: contents that look like headers stay contents, and the reverse. */
static void desync(void **state)
{
	struct buf b = BUF_INIT(1 << 20), inner = BUF_INIT(1 << 20);

	(void)state;
	tar_simple(&inner, "smuggled", '0', "", "evil", 4);
	assert_int_equal(inner.len, 1024);
	/* Header: 0 bytes. Who passes over the record sees the inner entry. */
	tar_pax(&b, "size", "1024");
	tar_simple(&b, "outer", '0', "", NULL, 0);
	assert_true(buf_append(&b, inner.data, inner.len));
	tar_simple(&b, "last", '0', "", NULL, 0);
	expect(&b, "file outer 644 0:0 0.000000000 size 1024\n  data 0-1024\nfile last 644 0:0 0.000000000 size 0\n");
	/* Header: 1024 bytes, record: none. */
	tar_pax(&b, "size", "0");
	tar_simple(&b, "outer", '0', "", inner.data, inner.len);
	tar_simple(&b, "last", '0', "", NULL, 0);
	expect(&b, "file outer 644 0:0 0.000000000 size 0\nfile smuggled 644 0:0 0.000000000 size 4\n  data 0-4\n"
		   "file last 644 0:0 0.000000000 size 0\n");
	/* A size that cannot be: never taken for the header's. */
	for (int i = 0; i < 4; i++) {
		static const char *const sizes[] = { "-1", "9223372036854775808", "1e3", "0x10" };

		tar_pax(&b, "size", sizes[i]);
		tar_simple(&b, "outer", '0', "", inner.data, inner.len);
		refuse(&b, ERR_INVALID, "bad size");
	}
	/* A link has no contents, whatever both say; a global header between a special one and its entry is refused, since Go
	   forgets the special one there. */
	tar_pax(&b, "size", "512");
	tar_simple(&b, "link", '1', "x", NULL, 0);
	tar_simple(&b, "last", '0', "", NULL, 0);
	expect(&b, "hardlink link -> x 644 0:0 0.000000000 size 0\nfile last 644 0:0 0.000000000 size 0\n");
	tar_pax(&b, "size", "1024");
	tar_special(&b, 'g', "9 a=bcde\n", 9);
	tar_simple(&b, "outer", '0', "", NULL, 0);
	refuse(&b, ERR_INVALID, "global");
	buf_free(&inner);
	buf_free(&b);
}

/** sparse_old() - Header with up to four fragments; more in blocks behind it. */
static void start_sparse(uint8_t h[512], uint64_t stored, uint64_t real)
{
	tar_start(h, "s", 'S', stored, GNU_MAGIC);
	tar_octal(h + 483, 12, real);
}

static void fragment(uint8_t *at, uint64_t offset, uint64_t size)
{
	tar_octal(at, 12, offset);
	tar_octal(at + 12, 12, size);
}

static void sparse_old(void **state)
{
	struct buf b = BUF_INIT(1 << 20), want = BUF_INIT(1 << 20);
	uint8_t h[512], more[512] = { 0 }, body[600];

	(void)state;
	memset(body, 's', sizeof(body));
	start_sparse(h, 600, 1 << 20);
	fragment(h + 386, 0, 100);
	fragment(h + 410, 100, 0);
	fragment(h + 434, 70000, 500);
	fragment(h + 458, 1 << 20, 0);
	tar_put(&b, h, body, 600);
	start_sparse(h, 0, 12345); /* all hole, and no map at all */
	tar_put(&b, h, NULL, 0);
	assert_true(buf_append_str(&want, "file s 644 0:0 0.000000000 size 1048576\n  data 0-100\n  data 70000-70500\n"
					  "file s 644 0:0 0.000000000 size 12345\n"
					  "file s 644 0:0 0.000000000 size 50000\n"));
	start_sparse(h, 30, 50000);
	for (int i = 0; i < 4; i++)
		fragment(h + 386 + 24 * i, (uint64_t)i * 1000, 1);
	h[482] = 1;
	tar_seal(h);
	assert_true(buf_append(&b, h, 512));
	for (int i = 0; i < 21; i++)
		fragment(more + 24 * i, 4000 + (uint64_t)i * 1000, 1);
	more[504] = 1;
	assert_true(buf_append(&b, more, 512));
	memset(more, 0, 512);
	for (int i = 0; i < 5; i++)
		fragment(more + 24 * i, 25000 + (uint64_t)i * 1000, 1);
	assert_true(buf_append(&b, more, 512) && buf_append(&b, body, 30));
	tar_pad(&b);
	for (int i = 0; i < 30; i++)
		assert_true(buf_printf(&want, "  data %d-%d\n", i * 1000, i * 1000 + 1));
	expect(&b, buf_cstr(&want));
	buf_free(&want);
	buf_free(&b);
}

/** sparse_pax() - 0.0, 0.1 and 1.0. */
static void sparse_pax(void **state)
{
	static const char events[] = "file s 644 0:0 0.000000000 size 9000\n  data 10-13\n  data 8990-9000\n";
	struct buf b = BUF_INIT(1 << 20), x = BUF_INIT(1 << 20);
	uint8_t map[512] = "2\n10\n3\n8990\n10\n", body[600] = { 0 }, h[512];

	(void)state;
	tar_text_record(&x, "GNU.sparse.size", "9000");
	tar_text_record(&x, "GNU.sparse.numblocks", "2");
	tar_text_record(&x, "GNU.sparse.offset", "10");
	tar_text_record(&x, "GNU.sparse.numbytes", "3");
	tar_text_record(&x, "GNU.sparse.offset", "8990");
	tar_text_record(&x, "GNU.sparse.numbytes", "10");
	tar_special(&b, 'x', x.data, x.len);
	tar_simple(&b, "s", '0', "", body, 13);
	expect(&b, events);
	x.len = 0;
	tar_text_record(&x, "GNU.sparse.size", "9000");
	tar_text_record(&x, "GNU.sparse.map", "10,3,8990,10");
	tar_text_record(&x, "GNU.sparse.name", "s");
	tar_special(&b, 'x', x.data, x.len);
	tar_simple(&b, "other", '0', "", body, 13);
	expect(&b, events);
	x.len = 0;
	tar_text_record(&x, "GNU.sparse.major", "1");
	tar_text_record(&x, "GNU.sparse.minor", "0");
	tar_text_record(&x, "GNU.sparse.name", "s");
	tar_text_record(&x, "GNU.sparse.realsize", "9000");
	tar_special(&b, 'x', x.data, x.len);
	tar_start(h, "other", '0', 512 + 13, USTAR_MAGIC);
	tar_seal(h);
	assert_true(buf_append(&b, h, 512) && buf_append(&b, map, 512) && buf_append(&b, body, 512));
	expect(&b, events);
	buf_free(&x);
	buf_free(&b);
}

/** Ways to break a sparse file's map. */
static void sparse_damage(void **state)
{
	static const struct { const char *map; enum err_code code; const char *words; } maps[] = {
		{ "10,3,5,10", ERR_INVALID, "out of order" },	 { "0,10,5,3", ERR_INVALID, "out of order" },
		{ "0,12", ERR_INVALID, "does not fit" },	 { "0,14", ERR_INVALID, "does not fit" },
		{ "0,3,8995,10", ERR_INVALID, "does not fit" },	 { "0,3,8990", ERR_INVALID, "damaged" },
		{ "0,,3", ERR_INVALID, "damaged" },		 { "0,x", ERR_INVALID, "damaged" },
		{ "-1,14", ERR_INVALID, "damaged" },		 { "9223372036854775807,13", ERR_INVALID, "out of order" },
		{ "18446744073709551615,1", ERR_INVALID, "damaged" },
	};
	static const char *const blocks[] = { "2\n10\n3\n8990\n", "x\n", "\n", "1\n-1\n13\n", "99999999999999999999\n", "1\n0\n13" };
	struct buf b = BUF_INIT(1 << 20), x = BUF_INIT(1 << 20);
	uint8_t h[512], body[600] = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
		x.len = 0;
		tar_text_record(&x, "GNU.sparse.size", "9000");
		tar_text_record(&x, "GNU.sparse.map", maps[i].map);
		tar_special(&b, 'x', x.data, x.len);
		tar_simple(&b, "s", '0', "", body, 13);
		refuse(&b, maps[i].code, maps[i].words);
	}
	for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
		uint8_t map[512] = { 0 };

		memcpy(map, blocks[i], strlen(blocks[i]));
		x.len = 0;
		tar_text_record(&x, "GNU.sparse.major", "1");
		tar_text_record(&x, "GNU.sparse.minor", "0");
		tar_text_record(&x, "GNU.sparse.realsize", "9000");
		tar_special(&b, 'x', x.data, x.len);
		tar_start(h, "s", '0', 525, USTAR_MAGIC);
		tar_seal(h);
		assert_true(buf_append(&b, h, 512) && buf_append(&b, map, 512) && buf_append(&b, body, 512));
		refuse(&b, ERR_INVALID, "sparse map");
	}
	/* The map alone is longer than the file; fragments without their partner; no size; a version from the future. */
	tar_special(&b, 'x', x.data, x.len);
	tar_simple(&b, "s", '0', "", body, 13);
	refuse(&b, ERR_INVALID, "sparse map");
	tar_pax(&b, "GNU.sparse.offset", "1");
	refuse(&b, ERR_INVALID, "map");
	tar_pax(&b, "GNU.sparse.numbytes", "1");
	refuse(&b, ERR_INVALID, "map");
	tar_pax(&b, "GNU.sparse.map", "0,13");
	tar_simple(&b, "s", '0', "", body, 13);
	refuse(&b, ERR_INVALID, "without its size");
	tar_pax(&b, "GNU.sparse.major", "2");
	refuse(&b, ERR_UNSUPPORTED, "version");
	tar_start(h, "s", 'S', 0, USTAR_MAGIC);
	tar_put(&b, h, NULL, 0);
	refuse(&b, ERR_UNSUPPORTED, "GNU");
	start_sparse(h, 10, 100);
	fragment(h + 386, 0, 9);
	tar_put(&b, h, body, 10);
	refuse(&b, ERR_INVALID, "does not fit");
	start_sparse(h, 10, 100);
	fragment(h + 386, 0, 10);
	memset(h + 483, 'x', 11);
	tar_put(&b, h, body, 10);
	refuse(&b, ERR_INVALID, "bad size");
	buf_free(&x);
	buf_free(&b);
}

/** damage() - Headers that are none. */
static void damage(void **state)
{
	struct buf b = BUF_INIT(4 << 20);
	uint8_t h[512];

	(void)state;
	tar_simple(&b, "f", '0', "", NULL, 0);
	b.data[3] ^= 1;
	refuse(&b, ERR_INVALID, "checksum");
	tar_simple(&b, "f", 'Z', "", NULL, 0);
	refuse(&b, ERR_UNSUPPORTED, "unknown type 0x5a");
	for (int field = 0; field < 6; field++) {
		static const struct { int at; const char *text; } bad[] = {
			{ 100, "99999999" }, { 108, "-1" }, { 116, "12 34" }, { 124, "8" }, { 136, "0x1" },
			{ 124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" },
		};

		tar_start(h, "f", '0', 0, USTAR_MAGIC);
		memcpy(h + bad[field].at, bad[field].text, strlen(bad[field].text));
		tar_put(&b, h, NULL, 0);
		refuse(&b, ERR_INVALID, "a number in the header is damaged");
	}
	tar_start(h, "f", '0', 0, GNU_MAGIC);
	memcpy(h + 124, "\x80\0\0\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 12); /* 2^71: more than a file can be */
	tar_put(&b, h, NULL, 0);
	refuse(&b, ERR_INVALID, "damaged");
	tar_start(h, "f", '0', 0, GNU_MAGIC);
	memcpy(h + 136, "\xc0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12); /* below the range of a time */
	tar_put(&b, h, NULL, 0);
	refuse(&b, ERR_INVALID, "damaged");
	tar_start(h, "c", '3', 0, USTAR_MAGIC);
	memcpy(h + 329, "x", 1);
	tar_put(&b, h, NULL, 0);
	refuse(&b, ERR_INVALID, "damaged");
	tar_simple(&b, "f", '0', "", NULL, 0);
	tar_end(&b);
	b.len -= 512;
	tar_simple(&b, "g", '0', "", NULL, 0);
	refuse(&b, ERR_INVALID, "behind a zero block");
	buf_free(&b);
}

/** pax_damage() - Records that are none. */
static void pax_damage(void **state)
{
	static const struct { const char *body; size_t n; const char *words; } bad[] = {
		{ "x", 1, "damaged" },		       { "5", 1, "damaged" },		 { "5 ", 2, "damaged" },
		{ "0 a=b\n", 6, "damaged" },	       { "99 a=b\n", 7, "damaged" },	 { "5 a=b\n", 6, "damaged" },
		{ "6 a=b ", 6, "damaged" },	       { "6 abc\n", 6, "damaged" },	 { "5 =b\n", 5, "damaged" },
		{ "3 \n", 3, "damaged" },	       { "-6 a=b\n", 7, "damaged" },	 { "6\ta=b\n", 6, "damaged" },
		{ "999999999 a=b\n", 14, "damaged" },  { "7 a\0=b\n", 7, "damaged" },	 { "10 path=\0\n", 10, "NUL" },
		{ "10 uid=-1\n", 10, "bad uid" },      { "9 gid=9x\n", 9, "bad gid" },	 { "6 a=b\nrest", 10, "damaged" },
	};
	struct buf b = BUF_INIT(4 << 20), x = BUF_INIT(4 << 20);
	uint8_t h[512];
	char key[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		tar_special(&b, 'x', bad[i].body, bad[i].n);
		tar_simple(&b, "f", '0', "", NULL, 0);
		refuse(&b, ERR_INVALID, bad[i].words);
	}
	/* Limits: bytes of a header, number of attributes. */
	tar_start(h, "x", 'x', TAR_SPECIAL_MAX + 1, USTAR_MAGIC);
	tar_put(&b, h, NULL, 0);
	refuse(&b, ERR_LIMIT, "more than 1048576 bytes");
	for (int i = 0; i <= TAR_XATTRS_MAX; i++) {
		snprintf(key, sizeof(key), "SCHILY.xattr.user.%d", i);
		tar_text_record(&x, key, "v");
	}
	tar_special(&b, 'x', x.data, x.len);
	refuse(&b, ERR_LIMIT, "more than 256 extended attributes");
	buf_free(&x);
	buf_free(&b);
}

/** truncated() - Cut at every byte: an entry is whole or the end is an error. */
static void truncated(void **state)
{
	struct buf b = BUF_INIT(1 << 20);
	uint8_t body[700] = { 0 };

	(void)state;
	tar_pax(&b, "path", "name");
	tar_simple(&b, "x", '0', "", body, 700);
	tar_end(&b);
	for (size_t n = 0; n <= b.len; n++) {
		struct buf cut = { .data = b.data, .len = n };
		struct error err = ERROR_INIT;
		/* Nothing at all; the whole entry, its last padding missing or not; a zero block or two. */
		bool good = n == 0 || (n >= 1536 + 700 && n <= 2560) || n == 3072 || n == 3584;
		struct seen s;

		assert_int_equal(read_in(&cut, 1 << 20, &s, &err), good ? 0 : -ERR_INVALID);
		if (!good)
			assert_non_null(strstr(err.text, "truncated"));
		assert_memory_equal(s.stream.len ? s.stream.data : body, n ? b.data : body, n);
		drop(&s);
	}
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),	 cmocka_unit_test(fields),	  cmocka_unit_test(pax),
		cmocka_unit_test(times),	 cmocka_unit_test(gnu),		  cmocka_unit_test(desync),
		cmocka_unit_test(sparse_old),	 cmocka_unit_test(sparse_pax),	  cmocka_unit_test(sparse_damage),
		cmocka_unit_test(damage),	 cmocka_unit_test(pax_damage),	  cmocka_unit_test(truncated),
	};

	return cmocka_run_group_tests_name("tar_reader", tests, NULL, NULL);
}
