/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. A qcow2 image of version 2 or 3, only read, without backing file. A first table (L1, kept in
 * memory) leads to second tables (L2) of one cluster, each entry of which leads to a cluster of data, to compressed
 * data, or says zeroes. L2 tables and inflated clusters share one cache, which the least recently used one leaves.
 *
 * What an attacker controls: every byte of the file, and its length while it is read. Header fields are bounded when it
 * is opened; each offset of a table entry is checked against the file's size where it is used, bits that must be zero
 * are; nothing is followed more than these two steps, so no loop of tables can be built. Refcounts, snapshots
 * and the dirty bit do not matter to a reader.
 *
 * Limits: disks of 64 TiB (or 128 GiB with the smallest clusters); clusters of 512 bytes to 2 MiB; L1 of 32 MiB; cache
 * of 8 MiB, or 8 clusters; together at most 54 MiB of memory.
 * Source: docs/interop/qcow2.txt of QEMU.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/reader.h"
#include "disk/disk.h"
#include "disk/file_io.h"
#include "disk/inflate.h"

#define MAGIC 0x514649fbu /* "QFI\xfb" */
#define HEADER_V2 72
#define HEADER_V3 104
#define CLUSTER_BITS_MIN 9
#define CLUSTER_BITS_MAX 21
#define L1_BYTES_MAX MIB(32)
#define BACKING_NAME_MAX 1023

#define ENTRY_OFFSET 0x00fffffffffffe00ULL
#define ENTRY_COPIED (1ULL << 63)
#define ENTRY_COMPRESSED (1ULL << 62)
#define ENTRY_ZERO 1ULL

#define FEATURE_DIRTY (1ULL << 0)
#define FEATURE_CORRUPT (1ULL << 1)
#define FEATURE_DATA_FILE (1ULL << 2)
#define FEATURE_COMPRESSION (1ULL << 3)
#define FEATURE_EXTENDED_L2 (1ULL << 4)

#define CACHE_BYTES MIB(8)
#define CACHE_SLOTS_MIN 8
#define CACHE_SLOTS_MAX 128

struct header {
	uint32_t version, cluster_bits, crypt, l1_count, backing_len, refcount_order, length;
	uint64_t backing, size_bytes, l1, refcounts, features;
};

struct slot {
	uint64_t key;	/* L2 table: its offset; inflated cluster: its L2 entry (bit 62 keeps them apart); 0: empty */
	uint64_t stamp; /* when it was last used */
};

struct qcow2 {
	struct disk disk;
	int fd;
	uint32_t version;
	unsigned int cluster_bits;
	uint64_t file_bytes;
	uint64_t *l1; /* as in the file but in host order */
	uint64_t clock;
	size_t slot_count;
	struct slot *slots;
	uint8_t *cached; /* slot_count clusters */
	uint8_t *packed; /* compressed bytes of one cluster: at most two clusters */
};

enum where { WHERE_ZERO, WHERE_FILE, WHERE_PACKED };

/** cluster_bytes() - Size of one cluster. */
static uint64_t cluster_bytes(const struct qcow2 *q)
{
	return 1ULL << q->cluster_bits;
}

/** bad() - One form for what is wrong with the image. */
static int bad(struct error *err, const char *what)
{
	err_set(err, ERR_INVALID, 0, "broken qcow2 image: %s", what);
	return err_hint(err, "qemu-img check IMAGE says more");
}

/** read_header() - The fields, nothing checked but magic, version and lengths. */
static int read_header(int fd, struct header *h, struct error *err)
{
	uint8_t bytes[HEADER_V3];
	ssize_t n = fd_pread_full(fd, bytes, sizeof(bytes), 0);
	struct reader r;

	if (n < 0)
		return err_set(err, err_from_errno(errno), errno, "read the qcow2 header");
	r = reader_init(bytes, (size_t)n);
	*h = (struct header){ .length = HEADER_V2 };
	if (reader_u32_be(&r) != MAGIC) {
		err_set(err, ERR_INVALID, 0, "not a qcow2 image");
		return err_hint(err, "qemu-img info IMAGE says what it is");
	}
	h->version = reader_u32_be(&r);
	h->backing = reader_u64_be(&r);
	h->backing_len = reader_u32_be(&r);
	h->cluster_bits = reader_u32_be(&r);
	h->size_bytes = reader_u64_be(&r);
	h->crypt = reader_u32_be(&r);
	h->l1_count = reader_u32_be(&r);
	h->l1 = reader_u64_be(&r);
	h->refcounts = reader_u64_be(&r);
	reader_u32_be(&r); /* refcount table's clusters */
	reader_u32_be(&r); /* snapshots */
	reader_u64_be(&r); /* their offset */
	if (r.failed)
		return bad(err, "its header is cut off");
	if (h->version != 2 && h->version != 3) {
		err_set(err, ERR_UNSUPPORTED, 0, "qcow version %u is not supported", h->version);
		return err_hint(err, "convert it: qemu-img convert -O qcow2 OLD NEW");
	}
	if (h->version == 2)
		return 0;
	h->features = reader_u64_be(&r);
	reader_u64_be(&r); /* compatible features */
	reader_u64_be(&r); /* autoclear features */
	h->refcount_order = reader_u32_be(&r);
	h->length = reader_u32_be(&r);
	return r.failed ? bad(err, "its header is cut off") : 0;
}

/** refuse_backing() - The text names the file that the image stands on. */
static int refuse_backing(int fd, const struct header *h, struct error *err)
{
	char name[BACKING_NAME_MAX + 1] = "";
	ssize_t n = 0;

	if (h->backing_len <= BACKING_NAME_MAX && h->backing <= INT64_MAX - BACKING_NAME_MAX)
		n = fd_pread_full(fd, name, h->backing_len, (off_t)h->backing);
	name[MAX(n, 0)] = '\0';
	err_set(err, ERR_UNSUPPORTED, 0, "the qcow2 image stands on a backing file, which is not supported: %.200s",
		name);
	return err_hint(err, "make an image that stands alone: qemu-img convert -O qcow2 OLD NEW");
}

/** check_features() - What an image may ask of its reader, by name. */
static int check_features(const struct header *h, struct error *err)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} known[] = {
		{ FEATURE_DATA_FILE, "an external data file" },
		{ FEATURE_COMPRESSION, "zstd compression" },
		{ FEATURE_EXTENDED_L2, "extended L2 entries" },
	};
	uint64_t left = h->features & ~FEATURE_DIRTY;

	if (h->crypt) {
		err_set(err, ERR_UNSUPPORTED, 0, "the qcow2 image is encrypted, which is not supported");
		return err_hint(err, "decrypt it: qemu-img convert -O qcow2 OLD NEW with its --object secret");
	}
	if (left & FEATURE_CORRUPT) {
		err_set(err, ERR_INVALID, 0, "the qcow2 image is marked corrupt");
		return err_hint(err, "qemu-img check -r all IMAGE repairs it");
	}
	if (!left)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (left & known[i].bit) {
			err_set(err, ERR_UNSUPPORTED, 0, "the qcow2 image uses %s, which is not supported",
				known[i].name);
			return err_hint(err, "make a plain copy: qemu-img convert -O qcow2 OLD NEW");
		}
	err_set(err, ERR_UNSUPPORTED, 0, "the qcow2 image uses an unknown feature (incompatible bit %d)",
		__builtin_ctzll(left));
	return err_hint(err, "make a plain copy: qemu-img convert -O qcow2 OLD NEW");
}

/** check_header() - Bounds and alignment. *l1_needed: entries that the disk's size takes. */
static int check_header(int fd, const struct header *h, uint64_t file_bytes, uint64_t *l1_needed, struct error *err)
{
	uint64_t cluster, l1_bytes = (uint64_t)h->l1_count * 8, end;
	unsigned int l1_shift;

	if (h->cluster_bits < CLUSTER_BITS_MIN || h->cluster_bits > CLUSTER_BITS_MAX)
		return bad(err, "its cluster size is not 512 bytes to 2 MiB");
	cluster = 1ULL << h->cluster_bits;
	if (check_features(h, err) < 0)
		return -(int)err->code;
	if (h->backing)
		return refuse_backing(fd, h, err);
	if (h->version == 3 && (h->length < HEADER_V3 || h->length % 8 || h->length > cluster))
		return bad(err, "the length of its header");
	if (h->refcount_order > 6)
		return bad(err, "its refcount width");
	if (h->size_bytes == 0 || h->size_bytes % DISK_SECTOR)
		return bad(err, "its disk size is not a positive number of sectors");
	if (h->size_bytes > DISK_COW_BYTES_MAX)
		return bad(err, "its disk is larger than 64 TiB");
	l1_shift = 2 * h->cluster_bits - 3;
	*l1_needed = (h->size_bytes >> l1_shift) + ((h->size_bytes & ((1ULL << l1_shift) - 1)) != 0);
	if (l1_bytes > L1_BYTES_MAX)
		return bad(err, "its L1 table is larger than 32 MiB");
	if (h->l1_count < *l1_needed)
		return bad(err, "its L1 table does not cover the disk");
	if (h->l1 % cluster || h->l1 == 0 || __builtin_add_overflow(h->l1, l1_bytes, &end) || end > file_bytes)
		return bad(err, "its L1 table is not in the file");
	if (h->refcounts % cluster || h->refcounts >= file_bytes)
		return bad(err, "its refcount table is not in the file");
	return 0;
}

/** cache_find() - The cluster kept under key. *hit: false: the caller fills it, and calls cache_forget() on failure. */
static uint8_t *cache_find(struct qcow2 *q, uint64_t key, struct slot **slot, bool *hit)
{
	struct slot *old = q->slots;

	*hit = true;
	for (struct slot *s = q->slots; s < q->slots + q->slot_count; s++) {
		if (s->key == key) {
			old = s;
			break;
		}
		if (s->stamp < old->stamp)
			old = s;
	}
	*hit = old->key == key;
	old->key = key;
	old->stamp = ++q->clock;
	*slot = old;
	return q->cached + ((size_t)(old - q->slots) << q->cluster_bits);
}

/** cache_forget() - Filling it failed. */
static void cache_forget(struct slot *s)
{
	s->key = s->stamp = 0;
}

/** read_l2() - The L2 table at offset, through the cache. Return: 0 or -errno. */
static int read_l2(struct qcow2 *q, uint64_t offset, const uint8_t **table)
{
	struct slot *slot;
	bool hit;
	uint8_t *to;

	if (offset & (cluster_bytes(q) - 1) || offset > q->file_bytes || cluster_bytes(q) > q->file_bytes - offset)
		return -EIO;
	to = cache_find(q, offset, &slot, &hit);
	if (!hit && fd_pread_full(q->fd, to, cluster_bytes(q), (off_t)offset) != (ssize_t)cluster_bytes(q)) {
		cache_forget(slot);
		return -EIO;
	}
	*table = to;
	return 0;
}

/** find_cluster() - What holds cluster `index` of the disk. *at: place in the file, or the entry of compressed data. */
static int find_cluster(struct qcow2 *q, uint64_t index, enum where *where, uint64_t *at)
{
	unsigned int l2_bits = q->cluster_bits - 3;
	uint64_t l1 = q->l1[index >> l2_bits], entry;
	const uint8_t *table;
	struct reader r;
	int rc;

	*where = WHERE_ZERO;
	*at = 0;
	if (l1 & ~(ENTRY_OFFSET | ENTRY_COPIED))
		return -EIO;
	if ((l1 & ENTRY_OFFSET) == 0)
		return 0;
	rc = read_l2(q, l1 & ENTRY_OFFSET, &table);
	if (rc < 0)
		return rc;
	r = reader_init(table + (index & ((1ULL << l2_bits) - 1)) * 8, 8);
	entry = reader_u64_be(&r);
	if (entry & ENTRY_COMPRESSED) {
		*where = WHERE_PACKED;
		*at = entry & ~ENTRY_COPIED;
		return 0;
	}
	if (entry & ~(ENTRY_OFFSET | ENTRY_COPIED | (q->version == 3 ? ENTRY_ZERO : 0)))
		return -EIO;
	*at = entry & ENTRY_OFFSET;
	if (*at == 0 || entry & ENTRY_ZERO)
		return 0;
	*where = WHERE_FILE;
	/* The last cluster may be cut off: what is missing reads as zeroes. */
	return *at & (cluster_bytes(q) - 1) || *at >= q->file_bytes ? -EIO : 0;
}

/** unpack() - The cluster of a compressed entry, through the cache. Return: 0 or -errno. */
static int unpack(struct qcow2 *q, uint64_t entry, const uint8_t **cluster)
{
	unsigned int offset_bits = 62 - (q->cluster_bits - 8);
	uint64_t offset = entry & ((1ULL << offset_bits) - 1);
	uint64_t sectors = ((entry & ~ENTRY_COMPRESSED) >> offset_bits) + 1, n;
	struct slot *slot;
	ssize_t got;
	uint8_t *to;
	bool hit;

	if (offset >= q->file_bytes)
		return -EIO;
	/* The length counts sectors from the one that the offset is in; the data ends somewhere in the last. */
	n = sectors * 512 - offset % 512;
	to = cache_find(q, entry, &slot, &hit);
	*cluster = to;
	if (hit)
		return 0;
	got = fd_pread_full(q->fd, q->packed, n, (off_t)offset);
	if (got > 0 && inflate_block(q->packed, (size_t)got, to, cluster_bytes(q)))
		return 0;
	cache_forget(slot);
	return -EIO;
}

static int qcow2_readv(struct disk *d, const struct iovec *iov, int count, uint64_t offset)
{
	struct qcow2 *q = (struct qcow2 *)d;
	struct iov_cursor at = { iov, count, 0 };
	uint64_t left = iov_bytes(iov, count);

	while (left) {
		uint64_t inside = offset & (cluster_bytes(q) - 1), taken, place;
		struct iovec part[FILE_IO_IOVS];
		const uint8_t *cluster;
		enum where where;
		int parts, rc;

		if (offset >= d->size_bytes)
			return -EINVAL;
		rc = find_cluster(q, offset >> q->cluster_bits, &where, &place);
		if (rc < 0)
			return rc;
		parts = iov_take(&at, cluster_bytes(q) - inside, part, &taken);
		switch (where) {
		case WHERE_ZERO:
			iov_zero(part, parts);
			break;
		case WHERE_FILE:
			rc = file_io(q->fd, part, parts, place + inside, false);
			break;
		case WHERE_PACKED:
			rc = unpack(q, place, &cluster);
			if (rc == 0)
				iov_copy(part, parts, cluster + inside);
			break;
		}
		if (rc < 0)
			return rc;
		offset += taken;
		left -= taken;
	}
	return 0;
}

static void qcow2_close(struct disk *d)
{
	struct qcow2 *q = (struct qcow2 *)d;

	fd_close(&q->fd);
	free(q->l1);
	free(q->slots);
	free(q->cached);
	free(q->packed);
	free(q);
}

static const struct disk_ops qcow2_ops = {
	.readv = qcow2_readv,
	.writev = disk_refuse_writev,
	.flush = disk_nothing_flush,
	.close = qcow2_close,
};

/** load_l1() - The first table into memory. */
static int load_l1(struct qcow2 *q, const struct header *h, size_t count, struct error *err)
{
	struct reader r;

	q->l1 = calloc(count, sizeof(*q->l1));
	if (!q->l1)
		return err_set(err, ERR_NO_MEMORY, 0, "qcow2: out of memory");
	if (fd_pread_full(q->fd, q->l1, count * 8, (off_t)h->l1) != (ssize_t)(count * 8))
		return bad(err, "its L1 table cannot be read");
	r = reader_init(q->l1, count * 8);
	for (size_t i = 0; i < count; i++)
		q->l1[i] = reader_u64_be(&r);
	return 0;
}

/** prepare() - From an open file to a disk that can be read. */
static int prepare(struct qcow2 *q, struct error *err)
{
	struct header h = { 0 };
	uint64_t l1_needed = 0;
	struct stat st;

	if (fstat(q->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return bad(err, "not a regular file");
	q->file_bytes = (uint64_t)st.st_size;
	if (read_header(q->fd, &h, err) < 0 || check_header(q->fd, &h, q->file_bytes, &l1_needed, err) < 0)
		return -(int)err->code;
	q->version = h.version;
	q->cluster_bits = h.cluster_bits;
	q->disk = (struct disk){ .ops = &qcow2_ops, .size_bytes = h.size_bytes, .read_only = true };
	q->slot_count = MIN(MAX(CACHE_BYTES >> h.cluster_bits, (size_t)CACHE_SLOTS_MIN), (size_t)CACHE_SLOTS_MAX);
	q->slots = calloc(q->slot_count, sizeof(*q->slots));
	q->cached = malloc(q->slot_count << h.cluster_bits);
	q->packed = malloc(2UL << h.cluster_bits);
	if (!q->slots || !q->cached || !q->packed)
		return err_set(err, ERR_NO_MEMORY, 0, "qcow2: out of memory");
	return load_l1(q, &h, (size_t)l1_needed, err);
}

struct disk *disk_open_qcow2(int fd, struct error *err)
{
	struct qcow2 *q = calloc(1, sizeof(*q));

	if (!q) {
		close(fd);
		err_set(err, ERR_NO_MEMORY, 0, "qcow2: out of memory");
		return NULL;
	}
	q->fd = fd;
	if (prepare(q, err) < 0) {
		qcow2_close(&q->disk);
		return NULL;
	}
	return &q->disk;
}
