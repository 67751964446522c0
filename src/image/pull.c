/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. This process resolves the reference to a manifest and a config (both digests checked), then
 * forks PULL_WORKERS workers. Each takes the next layer from a shared counter, largest layer first, takes its lock, and
 * feeds the layer through layer_unpack() as it comes. The compressed bytes are kept in the lock file (.part), where
 * msb-registry puts them, until the layer is whole: a pull that was broken off goes on from there, and since the digest
 * is over all of it, bytes that went bad on the disk are found and fetched again. Results and counters lie in shared
 * memory; this process draws them.
 *
 * What an attacker controls: manifests, configs, layers. Each worker parses one layer at a time, has the store's folder
 * and a socket to msb-registry, and nothing else to gain.
 */
#include "image/pull.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "confine/confine.h"
#include "image/fetch.h"
#include "image/progress.h"

#define PART_BYTES_MIN (1u << 20) /* smaller layers are fetched again instead of kept */
#define MANIFEST_BYTES_MAX (4u << 20)
#define TICK_MS 50

/** What the workers share. */
struct shared {
	_Atomic uint32_t next; /* index into order */
	uint32_t count;
	uint32_t order[IMAGE_LAYERS_MAX];
	struct descriptor blobs[IMAGE_LAYERS_MAX]; /* media_type is not for workers */
	struct layer_progress layers[IMAGE_LAYERS_MAX];
	struct error errors[PULL_WORKERS];
	char notes[PULL_WORKERS][300];
	_Atomic int note_ready[PULL_WORKERS];
};

struct pull {
	struct adder *a;
	struct pull_channels *channels;
	struct reference ref;
	char name[REFERENCE_MAX]; /* normalised */
	bool again;
	struct buf manifest, config; /* raw */
	char digest[DIGEST_HEX + 1], top[DIGEST_HEX + 1];
	char source[256];
	struct record *record;
	json_t *json; /* the manifest */
	struct shared *shared;
	struct progress progress;
	pid_t workers[PULL_WORKERS];
	int64_t start_ns;
};

int pull_open(struct pull_channels *c, struct error *err)
{
	c->own = fetch_open(FETCH_CONTROL_FD, err);
	for (size_t i = 0; i < PULL_WORKERS && c->own >= 0; i++) {
		c->worker[i] = fetch_open(FETCH_CONTROL_FD, err);
		if (c->worker[i] < 0)
			return c->worker[i];
	}
	return c->own < 0 ? c->own : 0;
}

/** on_note() - msb-registry tries something again; the coordinator's own channel. */
static void on_note(void *arg, const char *text)
{
	struct pull *p = arg;
	struct error note = ERROR_INIT; /* which makes the text fit for a terminal */

	err_set(&note, ERR_INVALID, 0, "%s", text);
	if (!p->a->quiet)
		fprintf(stderr, "note: %s\n", note.text);
}

/** fetch_text() - A manifest or config, whole. */
static int fetch_text(struct pull *p, enum fetch_kind kind, const char *name, uint64_t size, struct buf *out,
		      struct fetch_info *info, struct error *err)
{
	static uint8_t chunk[FETCH_BYTES_MAX];
	bool end = false;

	buf_free(out);
	out->max = IMAGE_JSON_MAX;
	out->failed = false;
	if (fetch_ask(p->channels->own, kind, name, 0, size, -1, err) < 0)
		return -(int)err->code;
	while (!end) {
		ssize_t n = fetch_next(p->channels->own, info, chunk, NULL, &end, on_note, p, err);

		if (n < 0)
			return (int)n;
		if (!buf_append(out, chunk, (size_t)n) || out->len > size)
			return err_set(err, ERR_LIMIT, 0, "%s sent more than %llu bytes for %s", p->ref.registry,
				       (unsigned long long)size, name);
	}
	return 0;
}

/** check_text() - Against the digest that was asked for. @want: hex */
static int check_text(const struct pull *p, const struct buf *b, const char *want, const char *what, struct error *err)
{
	char hex[DIGEST_HEX + 1];

	digest_hex(b->data, b->len, hex);
	if (strcmp(hex, want) == 0)
		return 0;
	return err_set(err, ERR_INVALID, 0,
		       "%s: %s is sha256:%.12s..., expected sha256:%.12s...: the registry sent something else", p->name,
		       what, hex, want);
}

/** fetch_checked() - A text whose digest, where it is asked for by one, is that; of the sources the first that has it.
 */
static int fetch_checked(struct pull *p, enum fetch_kind kind, const char *name, uint64_t size, struct buf *out,
			 struct fetch_info *info, const char *what, struct error *err)
{
	for (;;) {
		if (fetch_text(p, kind, name, size, out, info, err) < 0)
			return -(int)err->code;
		if (strncmp(name, "sha256:", 7) != 0 || check_text(p, out, name + 7, what, err) == 0)
			return 0;
		if (!fetch_distrust(p->channels->own))
			return -(int)err->code;
		err_clear(err);
	}
}

/** fetch_manifest() - By tag or digest, through indexes, to the manifest for this machine. */
static int fetch_manifest(struct pull *p, struct error *err)
{
	char name[160];
	struct fetch_info info = { 0 };

	snprintf(name, sizeof(name), "%s", reference_pinned(&p->ref));
	for (int depth = 0; depth < INDEX_DEPTH_MAX; depth++) {
		struct descriptor d;
		const json_t *chosen;

		if (fetch_checked(p, FETCH_MANIFEST, name, MANIFEST_BYTES_MAX, &p->manifest, &info, "the manifest",
				  err) < 0)
			return -(int)err->code;
		digest_hex(p->manifest.data, p->manifest.len, p->digest);
		if (depth == 0) {
			memcpy(p->top, p->digest, sizeof(p->top));
			snprintf(p->source, sizeof(p->source), "%s", info.source);
		}
		json_decref(p->json);
		p->json = image_json(p->manifest.data, p->manifest.len, "the manifest", err);
		if (!p->json)
			return err_wrap(err, "%s", p->name);
		if (!json_object_get(p->json, "manifests"))
			return 0;
		chosen = index_choose(p->json, err);
		if (!chosen || descriptor_parse(chosen, &d, err) < 0)
			return err_wrap(err, "%s", p->name);
		snprintf(name, sizeof(name), "sha256:%s", d.digest);
	}
	return err_set(err, ERR_LIMIT, 0, "%s: indexes nested more than %d deep", p->name, INDEX_DEPTH_MAX);
}

/** fetch_config() - And what it says about layers, which must agree with the manifest. */
static int fetch_config(struct pull *p, struct error *err)
{
	const json_t *layers = json_object_get(p->json, "layers");
	struct fetch_info info;
	struct descriptor d;
	char name[80];
	json_t *config;
	int rc;

	if (descriptor_parse(json_object_get(p->json, "config"), &d, err) < 0)
		return err_wrap(err, "%s: the manifest's config", p->name);
	if (d.size > IMAGE_JSON_MAX)
		return err_set(err, ERR_LIMIT, 0, "%s: the image's config is larger than 16 MiB", p->name);
	snprintf(name, sizeof(name), "sha256:%s", d.digest);
	if (fetch_checked(p, FETCH_BLOB, name, d.size, &p->config, &info, "the image's config", err) < 0)
		return -(int)err->code;
	config = image_json(p->config.data, p->config.len, "the image's config", err);
	rc = config ? config_parse(config, p->record, err) : -(int)err->code;
	json_decref(config);
	if (rc < 0)
		return err_wrap(err, "%s", p->name);
	if (json_array_size(layers) != p->record->img.layer_count)
		return err_set(err, ERR_INVALID, 0, "%s: the manifest names %zu layers, the config %u", p->name,
			       json_array_size(layers), p->record->img.layer_count);
	p->shared->count = p->record->img.layer_count;
	for (uint32_t i = 0; i < p->shared->count; i++) {
		struct layer_progress *l = &p->shared->layers[i];

		if (descriptor_parse(json_array_get(layers, i), &p->shared->blobs[i], err) < 0)
			return err_wrap(err, "%s: layer %u", p->name, i + 1);
		l->size = p->shared->blobs[i].size;
		memcpy(l->diff_id, p->record->img.layers[i], sizeof(l->diff_id));
	}
	return 0;
}

/** plan_order() - Largest first, so that the last worker does not work alone; of two equal layers the first one does
 * it. */
static void plan_order(struct shared *s)
{
	for (uint32_t i = 0; i < s->count; i++) {
		uint32_t at = i;

		for (; at > 0 && s->layers[s->order[at - 1]].size < s->layers[i].size; at--)
			s->order[at] = s->order[at - 1];
		s->order[at] = i;
	}
}

/** A layer on its way: what an earlier pull kept, then what msb-registry adds to it. */
struct layer_source {
	int channel, part;
	int into;	     /* part once more, for msb-registry; -1: it sends the bytes */
	uint64_t stored, at; /* how far part goes; read so far */
	uint64_t size;
	char name[80];
	bool asked, end;
	struct layer_progress *progress;
	uint8_t *chunk; /* FETCH_BYTES_MAX */
	size_t chunk_at, chunk_len;
};

/** fill() - The next piece from msb-registry. */
static int fill(struct layer_source *l, struct error *err)
{
	uint64_t before = l->stored;
	struct fetch_info info;
	ssize_t n;

	if (!l->asked && fetch_ask(l->channel, FETCH_BLOB, l->name, l->at, l->size, l->into, err) < 0)
		return -(int)err->code;
	l->asked = true;
	n = fetch_next(l->channel, &info, l->chunk, &l->stored, &l->end, NULL, NULL, err);
	if (n < 0) {
		l->end = true; /* nothing follows a failure */
		return (int)n;
	}
	l->chunk_at = 0;
	l->chunk_len = (size_t)n;
	if ((l->stored != before && (l->stored < l->at || l->stored > l->size)) || (uint64_t)n > l->size - l->at)
		return err_set(err, ERR_LIMIT, 0, "a layer is larger than its descriptor says");
	atomic_fetch_add(&l->progress->fetched, (uint64_t)n + l->stored - before);
	if (n)
		fd_close(&l->into); /* without room for it the pull just cannot go on from here another time */
	return 0;
}

/** read_layer() - blob_source. */
static ssize_t read_layer(void *arg, void *to, size_t max, struct error *err)
{
	struct layer_source *l = arg;
	size_t n;

	if (l->at == l->size && !l->asked)
		return 0; /* all of it had been kept */
	while (l->at >= l->stored && l->chunk_at == l->chunk_len && !l->end)
		if (fill(l, err) < 0)
			return -(int)err->code;
	if (l->at < l->stored) {
		n = MIN(max, l->stored - l->at);
		if (fd_pread_full(l->part, to, n, (off_t)l->at) != (ssize_t)n)
			return err_set(err, ERR_SYSTEM, errno, "read what is here of the layer");
	} else {
		n = MIN(max, l->chunk_len - l->chunk_at);
		memcpy(to, l->chunk + l->chunk_at, n);
		l->chunk_at += n;
	}
	l->at += n;
	atomic_fetch_add(&l->progress->taken, (uint64_t)n);
	return (ssize_t)n;
}

/** try_layer() - Once, from what is in the part file on. @keep: whether what is there now is worth another try. */
static int try_layer(struct pull *p, uint32_t i, int channel, int part, bool *keep, char note[300], struct error *err)
{
	struct layer_progress *progress = &p->shared->layers[i];
	struct layer_source from = { .channel = channel, .part = part, .size = progress->size, .progress = progress };
	struct blob_source source = { read_layer, &from };
	struct stat st = { 0 };
	struct fetch_info info;
	uint64_t blocks;
	int rc;

	snprintf(from.name, sizeof(from.name), "sha256:%s", p->shared->blobs[i].digest);
	from.chunk = malloc(FETCH_BYTES_MAX);
	if (!from.chunk)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	if (fstat(part, &st) < 0 || ((uint64_t)st.st_size > from.size && ftruncate(part, 0) < 0))
		return err_set(err, ERR_SYSTEM, errno, "what an earlier pull kept");
	from.stored = (uint64_t)st.st_size <= from.size ? (uint64_t)st.st_size : 0;
	from.into = from.size >= PART_BYTES_MIN ? layer_part(p->a, progress->diff_id) : -1;
	atomic_store(&progress->taken, 0);
	atomic_store(&progress->state, LAYER_FETCHING);
	rc = layer_unpack(p->a->layers, &source, p->shared->blobs[i].digest, progress->diff_id, &blocks, note, err);
	/* Bytes that are not what they should be are nothing to go on from. */
	*keep = rc < 0 && from.into >= 0 && err->code != ERR_INVALID && err->code != ERR_LIMIT &&
		err->code != ERR_UNSUPPORTED;
	while (rc < 0 && from.asked && !from.end &&
	       fetch_next(channel, &info, from.chunk, &from.stored, &from.end, NULL, NULL, NULL) >= 0)
		; /* the next answer on this channel must not begin within this one */
	free(from.chunk);
	fd_close(&from.into);
	return rc;
}

/**
 * pull_locked() - The layer's lock is held: make it; from the beginning if what an earlier pull kept is no good, and
 * from the next source if a mirror's bytes are not the layer's. Ends because each of these happens to a source once.
 */
static int pull_locked(struct pull *p, uint32_t i, int channel, int part, bool *keep, char note[300], struct error *err)
{
	struct stat st;
	bool kept = fstat(part, &st) == 0 && st.st_size > 0;

	for (;;) {
		int rc = try_layer(p, i, channel, part, keep, note, err);

		if (rc == 0 || err->code != ERR_INVALID || (!kept && !fetch_distrust(channel)) ||
		    ftruncate(part, 0) < 0)
			return rc;
		kept = false;
		err_clear(err);
	}
}

/** pull_layer() - One layer into the store, unless it is there or somebody makes it meanwhile. */
static int pull_layer(struct pull *p, uint32_t i, int channel, char note[300], struct error *err)
{
	struct layer_progress *progress = &p->shared->layers[i];
	enum layer_state state = LAYER_THERE;
	bool keep = false;
	uint64_t blocks;
	int rc = 0, part;

	if (p->again || !layer_known(p->a, progress->diff_id, &blocks)) {
		atomic_store(&progress->state, LAYER_LOCKED);
		part = layer_lock(p->a, progress->diff_id, err);
		if (part < 0)
			return part;
		if (p->again || !layer_known(p->a, progress->diff_id, &blocks)) {
			rc = pull_locked(p, i, channel, part, &keep, note, err);
			state = rc < 0 ? LAYER_FAILED : LAYER_DONE;
		}
		layer_unlock(p->a, progress->diff_id, &part, keep);
	} else {
		layer_forget_part(p->a, progress->diff_id);
	}
	if (rc == 0)
		atomic_store(&progress->taken, progress->size);
	atomic_store(&progress->state, state);
	return rc < 0 ? err_wrap(err, "%s: layer %u of %u (sha256:%.12s...)", p->name, i + 1, p->shared->count,
				 p->shared->blobs[i].digest)
		      : 0;
}

/** work() - A worker: layers until there are none left, or one failed. */
static _Noreturn void work(struct pull *p, size_t number)
{
	struct shared *s = p->shared;
	sigset_t none;
	uint32_t at;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(p->channels->own);
	for (size_t i = 0; i < PULL_WORKERS; i++)
		if (i != number)
			close(p->channels->worker[i]);
	if (confine_deny_dangerous(CONFINE_DENY_FORK, &s->errors[number]) < 0)
		_exit(1);
	while ((at = atomic_fetch_add(&s->next, 1)) < s->count) {
		char note[300] = "";

		if (pull_layer(p, s->order[at], p->channels->worker[number], note, &s->errors[number]) < 0)
			_exit(1);
		if (note[0] && !atomic_load(&s->note_ready[number])) {
			memcpy(s->notes[number], note, sizeof(note));
			atomic_store(&s->note_ready[number], 1);
		}
	}
	_exit(0);
}

/** stop_workers() - By force; what they were at stays resumable. */
static void stop_workers(struct pull *p)
{
	for (size_t i = 0; i < PULL_WORKERS; i++) {
		if (p->workers[i] <= 0)
			continue;
		kill(p->workers[i], SIGKILL);
		waitpid(p->workers[i], NULL, 0);
		p->workers[i] = 0;
	}
}

/** interrupted() - What stays, for the user. */
static int interrupted(const struct pull *p, struct error *err)
{
	uint32_t done = 0;

	for (uint32_t i = 0; i < p->shared->count; i++) {
		int state = atomic_load(&p->shared->layers[i].state);

		done += state == LAYER_DONE || state == LAYER_THERE;
	}
	err_set(err, ERR_CANCELLED, 0, "%s: interrupted; %u of %u layers are complete and stay", p->name, done,
		p->shared->count);
	return err_hint(err, "the next pull goes on from here; msb image prune removes what is there");
}

/** is_interrupt() - Does the signal say that the user wants no more? */
static bool is_interrupt(int sig)
{
	return sig == SIGINT || sig == SIGTERM || sig == SIGHUP;
}

/** reap() - A worker ended. Return: 0, or the reason of its failure. */
static int reap(struct pull *p, struct error *err)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (size_t i = 0; i < PULL_WORKERS; i++) {
			if (p->workers[i] != pid)
				continue;
			p->workers[i] = 0;
			if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
				continue;
			if (WIFSIGNALED(status) && is_interrupt(WTERMSIG(status))) /* it was told before this process */
				return interrupted(p, err);
			*err = p->shared->errors[i];
			err->text[sizeof(err->text) - 1] = err->hint[sizeof(err->hint) - 1] = '\0';
			if (!WIFEXITED(status) || err->code <= ERR_NONE || err->code >= ERR_CODE_COUNT) {
				err_clear(err);
				err_set(err, ERR_INTERNAL, 0, "%s: unpacking a layer ended by signal %d", p->name,
					WIFSIGNALED(status) ? WTERMSIG(status) : 0);
			}
			return -(int)err->code;
		}
	}
	return 0;
}

/** show() - Progress, and what workers have to say. */
static void show(struct pull *p, bool final)
{
	for (size_t i = 0; i < PULL_WORKERS; i++) {
		struct error note = ERROR_INIT;

		if (!atomic_load(&p->shared->note_ready[i]))
			continue;
		err_set(&note, ERR_INVALID, 0, "%.299s", p->shared->notes[i]);
		atomic_store(&p->shared->note_ready[i], 0);
		progress_clear(&p->progress);
		fprintf(stderr, "warn: %s\n", note.text);
	}
	progress_show(&p->progress, final);
}

/**
 * fetch_layers() - Workers over all layers; this process watches. Only here are there layers that stay after a signal:
 * before and after, the signals' own actions will do.
 */
static int fetch_layers(struct pull *p, struct error *err)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGCHLD };
	const struct timespec tick = { .tv_nsec = TICK_MS * NSEC_PER_MSEC };
	size_t alive = MIN(p->shared->count, PULL_WORKERS);
	sigset_t watched, before;
	int rc = 0;

	sigemptyset(&watched);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaddset(&watched, signals[i]);
	sigprocmask(SIG_BLOCK, &watched, &before);
	plan_order(p->shared);
	progress_start(&p->progress, p->shared->layers, p->shared->count, p->a->quiet);
	fflush(NULL);
	for (size_t i = 0; i < alive && rc == 0; i++) {
		p->workers[i] = fork();
		if (p->workers[i] == 0)
			work(p, i);
		if (p->workers[i] < 0)
			rc = err_set(err, ERR_SYSTEM, errno, "fork a worker");
	}
	while (rc == 0 && alive) {
		int sig = sigtimedwait(&watched, NULL, &tick);

		if (is_interrupt(sig))
			rc = interrupted(p, err);
		else
			rc = reap(p, err);
		alive = 0;
		for (size_t i = 0; i < PULL_WORKERS; i++)
			alive += p->workers[i] > 0;
		show(p, false);
	}
	stop_workers(p);
	if (rc == 0)
		show(p, true);
	progress_end(&p->progress);
	/* Ctrl-C is for the whole group, and msb hands it on besides: the second must not end this process unsaid. */
	if (rc != -(int)ERR_CANCELLED)
		sigprocmask(SIG_SETMASK, &before, NULL);
	return rc;
}

/** is_current() - One question to the registry: does the tag still mean what is here? */
static bool is_current(struct pull *p)
{
	char digest[DIGEST_HEX + 1], top[DIGEST_HEX + 1];
	struct fetch_info info = { 0 };
	static uint8_t chunk[FETCH_BYTES_MAX];
	bool end = false;

	if (p->again || image_store_ref(p->a->store, p->name, digest, top, NULL) < 0 || !top[0] ||
	    !image_known(p->a, digest))
		return false;
	if (p->ref.digest[0])
		return strcmp(p->ref.digest + 7, top) == 0;
	if (fetch_ask(p->channels->own, FETCH_HEAD, p->ref.tag, 0, 0, -1, NULL) < 0)
		return false;
	while (!end)
		if (fetch_next(p->channels->own, &info, chunk, NULL, &end, on_note, p, NULL) < 0)
			return false; /* the request that follows says why */
	return strncmp(info.digest, "sha256:", 7) == 0 && strcmp(info.digest + 7, top) == 0;
}

/** say_done() - The line at the end. */
static void say_done(const struct pull *p)
{
	uint64_t fetched = 0;
	uint32_t made = 0;
	char size[24];

	if (p->a->quiet)
		return;
	for (uint32_t i = 0; i < p->shared->count; i++) {
		fetched += atomic_load(&p->shared->layers[i].fetched);
		made += atomic_load(&p->shared->layers[i].state) == LAYER_DONE;
	}
	progress_size(fetched, size);
	fprintf(stderr, "✓ Pulled %s (%u layer%s, %u new; %s in %.1f s from %s)\n", p->name, p->shared->count,
		p->shared->count == 1 ? "" : "s", made, size, (double)(clock_monotonic_ns() - p->start_ns) / 1e9,
		p->source);
}

/** run() - Everything. */
static int run(struct pull *p, const char *reference, struct error *err)
{
	if (reference_parse(reference, &p->ref, err) < 0 || reference_normalise(reference, p->name, err) < 0)
		return -(int)err->code;
	if (is_current(p)) {
		if (!p->a->quiet)
			fprintf(stderr, "✓ %s is up to date\n", p->name);
		return 0;
	}
	if (fetch_manifest(p, err) < 0)
		return -(int)err->code;
	if (!p->again && image_known(p->a, p->digest)) {
		if (!p->a->quiet)
			fprintf(stderr, "✓ %s is up to date\n", p->name);
		return image_name(p->a, p->name, p->digest, p->top, err);
	}
	if (fetch_config(p, err) < 0 || fetch_layers(p, err) < 0 ||
	    image_add(p->a, p->record, p->digest, &p->config, &p->manifest, err) < 0 ||
	    image_name(p->a, p->name, p->digest, p->top, err) < 0)
		return -(int)err->code;
	say_done(p);
	return 0;
}

int pull_image(struct adder *a, struct pull_channels *c, const char *reference, bool again, struct error *err)
{
	static struct pull p;
	int rc;

	p = (struct pull){ .a = a, .channels = c, .again = again, .start_ns = clock_monotonic_ns() };
	p.shared = mmap(NULL, sizeof(*p.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	p.record = calloc(1, sizeof(*p.record));
	if (p.shared == MAP_FAILED || !p.record)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	rc = run(&p, reference, err);
	json_decref(p.json);
	image_clear(&p.record->img);
	free(p.record);
	buf_free(&p.manifest);
	buf_free(&p.config);
	munmap(p.shared, sizeof(*p.shared));
	return rc;
}
