/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-image: the program that reads what strangers made (archives, manifests, layers), so that msb itself never does.
 * It has no network: what comes from a registry comes through msb-registry (image/fetch.h).
 *
 *   msb-image load    [--quiet] [--tag REF]... MSB_HOME [FILE]
 *   msb-image import  [--quiet] --tag REF... MSB_HOME [FILE]
 *   msb-image pull    [--quiet] [--again] MSB_HOME REFERENCE        with the control socket on FETCH_CONTROL_FD
 *   msb-image save    [--oci] [--output FILE] MSB_HOME REFERENCE...
 *   msb-image inspect [--json] MSB_HOME REFERENCE
 *
 * Results on standard output, progress on standard error; on failure one "error: " line and exit status 1, or 130 when
 * it was interrupted.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/macros.h"
#include "confine/confine.h"
#include "image/load.h"
#include "image/pull.h"
#include "image/save.h"

struct options {
	bool quiet, again, oci, json;
	const char *output;
	struct tags tags;
	char **rest; /* behind MSB_HOME */
	size_t rest_count;
};

static const char *first(const struct options *o)
{
	return o->rest_count ? o->rest[0] : NULL;
}

static struct pull_channels channels;

static int do_load(struct adder *a, const struct options *o, struct error *err)
{
	return load_archive(a, first(o), &o->tags, err);
}

static int do_import(struct adder *a, const struct options *o, struct error *err)
{
	return import_tar(a, first(o), &o->tags, err);
}

static int do_pull(struct adder *a, const struct options *o, struct error *err)
{
	return pull_image(a, &channels, first(o), o->again, err);
}

static int do_save(struct adder *a, const struct options *o, struct error *err)
{
	return save_images(a, (const char *const *)o->rest, o->rest_count, o->oci, o->output, err);
}

static int do_inspect(struct adder *a, const struct options *o, struct error *err)
{
	return inspect_image(a, first(o), o->json, err);
}

static const struct verb {
	const char *name;
	size_t min, max; /* words behind MSB_HOME */
	bool adds;	 /* of an image that could not be added whole, nothing stays */
	bool network, forks;
	int (*run)(struct adder *a, const struct options *o, struct error *err);
} verbs[] = {
	{ .name = "load", .max = 1, .adds = true, .run = do_load },
	{ .name = "import", .max = 1, .adds = true, .run = do_import },
	{ .name = "pull", .min = 1, .max = 1, .network = true, .forks = true, .run = do_pull },
	{ .name = "save", .min = 1, .max = 1000, .run = do_save },
	{ .name = "inspect", .min = 1, .max = 1, .run = do_inspect },
};

/** parse() - Options, then MSB_HOME and the rest. Return: index of MSB_HOME, 0 when the line makes no sense. */
static int parse(int argc, char **argv, struct options *o)
{
	int i = 2;

	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--quiet") == 0)
			o->quiet = true;
		else if (strcmp(argv[i], "--again") == 0)
			o->again = true;
		else if (strcmp(argv[i], "--oci") == 0)
			o->oci = true;
		else if (strcmp(argv[i], "--json") == 0)
			o->json = true;
		else if (strcmp(argv[i], "--output") == 0 && i + 1 < argc)
			o->output = argv[++i];
		else if (strcmp(argv[i], "--tag") == 0 && i + 1 < argc && o->tags.count < TAGS_MAX)
			o->tags.item[o->tags.count++] = argv[++i];
		else
			return 0;
	}
	if (i >= argc)
		return 0;
	o->rest = argv + i + 1;
	o->rest_count = (size_t)(argc - i - 1);
	return i;
}

/** confine() - Before a stranger's byte is read. */
static int confine(const struct verb *v, struct error *err)
{
	struct rlimit cpu = { 3600, 3600 }, core = { 0, 0 };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	sigaction(SIGXFSZ, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL); /* a write says EFBIG then */
	setrlimit(RLIMIT_CPU, &cpu);
	setrlimit(RLIMIT_CORE, &core);
	if (v->network && pull_open(&channels, err) < 0)
		return -(int)err->code;
	return confine_deny_dangerous(v->forks ? 0 : CONFINE_DENY_FORK, err);
}

/** hint_of() - What to do about a failure: what its place knew, what its errno says, or what its class suggests. */
static const char *hint_of(const struct verb *v, const struct error *err)
{
	const char *advice = err->hint[0] ? err->hint : err_advice(err);

	if (advice)
		return advice;
	switch ((int)err->code) {
	case ERR_INVALID:
		if (v->network)
			return "the registry's copy is damaged: the image must be pushed there again";
		return "make or copy the archive again, with docker save, skopeo, buildah or umoci";
	case ERR_LIMIT:
		return "images beyond this limit are not loaded: make the image smaller";
	case ERR_UNSUPPORTED:
		return v->network ? "choose another tag, or build the image for linux/amd64"
				  : "save the image for linux/amd64";
	default:
		return "msb doctor says what this host lacks";
	}
}

int main(int argc, char **argv)
{
	static struct options o;
	const struct verb *v = NULL;
	struct error err = ERROR_INIT;
	struct adder a = { .home = -1, .cache = -1, .layers = -1, .lock = -1 };
	int home = parse(argc, argv, &o), rc;

	for (size_t i = 0; home && i < ARRAY_LEN(verbs); i++)
		if (strcmp(argv[1], verbs[i].name) == 0 && o.rest_count >= verbs[i].min && o.rest_count <= verbs[i].max)
			v = &verbs[i];
	if (!v) {
		fprintf(stderr, "error: msb-image is a part of msb and is started by it\n");
		return 2;
	}
	sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	a.quiet = o.quiet;
	rc = confine(v, &err);
	if (rc == 0)
		rc = adder_open(&a, argv[home], &err);
	if (rc == 0)
		rc = v->run(&a, &o, &err);
	adder_close(&a, rc < 0 && v->adds);
	if (rc == 0)
		return 0;
	fprintf(stderr, "error: %s\n  → %s\n", err.text, hint_of(v, &err));
	return err.code == ERR_CANCELLED ? 130 : 1;
}
