/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bound LAYER...: seconds that gzip layers take, from the page cache, to be hashed (SHA-256), inflated and hashed again,
 * with the libraries that msb-image uses and as many threads as there are processors; the largest layer first. What a
 * pull cannot do without, and nothing else.
 */
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define CHUNK (256u << 10)
#define THREADS_MAX 256

struct layer {
	uint8_t *p;
	size_t n;
};

static struct layer *layers;
static int count;
static _Atomic int next;
static _Atomic uint64_t unpacked;

/** fail() - With a word. */
static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(1);
}

/** one() - A layer: in pieces that fit the cache, as they would come from a network. */
static void one(const struct layer *l, uint8_t *out)
{
	EVP_MD_CTX *blob = EVP_MD_CTX_new(), *content = EVP_MD_CTX_new();
	uint8_t sum[EVP_MAX_MD_SIZE];
	z_stream z = { 0 };
	int rc = Z_OK;

	if (!blob || !content || !EVP_DigestInit_ex(blob, EVP_sha256(), NULL) ||
	    !EVP_DigestInit_ex(content, EVP_sha256(), NULL) || inflateInit2(&z, 15 + 16) != Z_OK)
		fail("memory");
	for (size_t at = 0, part; at < l->n; at += part) {
		part = l->n - at < CHUNK ? l->n - at : CHUNK;
		EVP_DigestUpdate(blob, l->p + at, part);
		z.next_in = l->p + at;
		z.avail_in = (unsigned int)part;
		do {
			z.next_out = out;
			z.avail_out = CHUNK;
			rc = inflate(&z, Z_NO_FLUSH);
			if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
				fail("inflate");
			EVP_DigestUpdate(content, out, CHUNK - z.avail_out);
			unpacked += CHUNK - z.avail_out;
		} while (rc == Z_OK && z.avail_out == 0);
	}
	if (rc != Z_STREAM_END)
		fail("truncated");
	EVP_DigestFinal_ex(blob, sum, NULL);
	EVP_DigestFinal_ex(content, sum, NULL);
	EVP_MD_CTX_free(blob);
	EVP_MD_CTX_free(content);
	inflateEnd(&z);
}

/** work() - A thread: layers until there are none left. */
static void *work(void *arg)
{
	uint8_t *out = malloc(CHUNK);
	int at;

	if (!out)
		fail("memory");
	while ((at = next++) < count)
		one(&layers[at], out);
	free(out);
	return arg;
}

/** larger_first() - For qsort(). */
static int larger_first(const void *a, const void *b)
{
	const struct layer *x = a, *y = b;

	return (x->n < y->n) - (x->n > y->n);
}

int main(int argc, char **argv)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN), threads = cores < THREADS_MAX ? cores : THREADS_MAX;
	pthread_t thread[THREADS_MAX];
	struct timespec from, to;

	count = argc - 1;
	layers = calloc((size_t)argc, sizeof(*layers));
	for (int i = 0; i < count; i++) {
		int fd = open(argv[i + 1], O_RDONLY | O_CLOEXEC);
		struct stat st;

		if (!layers || fd < 0 || fstat(fd, &st) < 0)
			fail(argv[i + 1]);
		layers[i].n = (size_t)st.st_size;
		layers[i].p = mmap(NULL, layers[i].n, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
		if (layers[i].p == MAP_FAILED)
			fail(argv[i + 1]);
		close(fd);
	}
	qsort(layers, (size_t)count, sizeof(*layers), larger_first);
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (long i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, work, NULL))
			fail("thread");
	for (long i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%.3f %ld %llu\n", (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9, threads,
	       (unsigned long long)unpacked);
	return 0;
}
