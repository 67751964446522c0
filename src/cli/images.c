/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/cli.h"
#include "image/store.h"

/** open_store() - MSB_HOME and the store in it. */
static struct image_store *open_store(struct engine_paths *paths, enum engine_access how, struct error *err)
{
	_cleanup_fd_ int home = -1;

	if (engine_paths(paths, how, err) < 0)
		return NULL;
	engine_sweep(paths);
	home = open(paths->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (home < 0) {
		err_set(err, err_from_errno(errno), errno, "open %s", paths->home);
		return NULL;
	}
	return image_store_open(home, err);
}

int command_load(int argc, char **argv)
{
	static struct string_list tags;
	static const char *input;
	static bool quiet;
	static const struct option_row rows[] = {
		{ 'i', "input", "FILE", "archive to read (standard input)", OPTION_STRING, &input, 0, 0 },
		{ 't', "tag", "REF", "name for the first image of the archive", OPTION_LIST, &tags, 0, 0 },
		{ 'q', "quiet", NULL, "print nothing", OPTION_FLAG, &quiet, 0, 0 },
	};
	static const struct command help = {
		"load", "Load images from an archive made by docker save, skopeo, buildah or umoci.",
		"[-i FILE] [-t REF]...", NULL
	};
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	char name[REFERENCE_MAX];
	struct parsed p;

	if (parse_options(rows, ARRAY_LEN(rows), 0, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.extra_count) {
		err_set(&err, ERR_USAGE, 0, "load: unexpected \"%s\"", p.extra[0]);
		err_hint(&err, "did you mean: msb load -i %s", p.extra[0]);
		return usage_error(&err);
	}
	for (size_t i = 0; i < tags.count; i++)
		if (reference_normalise(tags.item[i], name, &err) < 0)
			return usage_error(&err); /* before the archive is read, and the good ones get their image */
	if (input && !*input) {
		err_set(&err, ERR_USAGE, 0, "--input: the name of the archive is empty");
		return usage_error(&err);
	}
	if (!input && isatty(STDIN_FILENO)) {
		err_set(&err, ERR_USAGE, 0, "load: standard input is a terminal");
		err_hint(&err, "use msb load -i FILE, or pipe an archive in");
		return usage_error(&err);
	}
	if (engine_paths(&paths, ENGINE_WRITE, &err) < 0 ||
	    engine_load(&paths, input, tags.item, tags.count, quiet, &err) < 0) {
		print_error(&err);
		return err.code == ERR_CANCELLED ? 130 : 1;
	}
	return 0;
}

void print_json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			printf("\\u%04x", (unsigned char)*s);
		else
			putchar(*s);
	}
	putchar('"');
}

/** print_json() - As contract: reference, digest, size, platform, layers, created. */
static void print_json(struct image *const *list, size_t count)
{
	printf("[");
	for (size_t i = 0; i < count; i++) {
		char when[40] = "";
		time_t t = list[i]->created_s;

		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S+00:00", gmtime(&t));
		printf("%s\n  {\n    \"reference\": ", i ? "," : "");
		print_json_string(list[i]->reference);
		printf(",\n    \"digest\": \"%s\",\n    \"size_bytes\": %llu,\n    \"architecture\": ", list[i]->digest,
		       (unsigned long long)list[i]->size_bytes);
		print_json_string(list[i]->architecture);
		printf(",\n    \"os\": ");
		print_json_string(list[i]->os);
		printf(",\n    \"layer_count\": %u,\n    \"created_at\": \"%s\"\n  }", list[i]->layer_count, when);
	}
	printf(count ? "\n]\n" : "]\n");
}

/** print_table() - REFERENCE DIGEST SIZE CREATED, padded. */
static void print_table(struct image *const *list, size_t count)
{
	int width = 9;

	for (size_t i = 0; i < count; i++)
		width = MAX(width, (int)strlen(list[i]->reference));
	printf("%-*s    %-19s    %-9s    CREATED\n", width, "REFERENCE", "DIGEST", "SIZE");
	for (size_t i = 0; i < count; i++) {
		char when[40] = "-", size[24];
		time_t t = list[i]->created_s;

		if (t)
			strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime(&t));
		snprintf(size, sizeof(size), "%.1f MiB", (double)list[i]->size_bytes / (1 << 20));
		printf("%-*s    %.19s    %-9s    %s\n", width, list[i]->reference, list[i]->digest, size, when);
	}
}

int command_images(int argc, char **argv)
{
	static const char *format;
	static bool quiet;
	static const struct option_row rows[] = {
		{ 0, "format", "json", "print JSON", OPTION_STRING, &format, 0, 0 },
		{ 'q', "quiet", NULL, "print references only", OPTION_FLAG, &quiet, 0, 0 },
	};
	static const struct command help = { "images", "List cached images.", "[--format json] [-q]", NULL };
	struct engine_paths paths;
	struct image_store *store;
	struct image **list = NULL;
	struct error err = ERROR_INIT;
	struct parsed p;
	size_t count = 0;
	int rc;

	if (parse_options(rows, ARRAY_LEN(rows), 0, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.extra_count) {
		err_set(&err, ERR_USAGE, 0, "images: unexpected \"%s\"", p.extra[0]);
		return usage_error(&err);
	}
	store = open_store(&paths, ENGINE_READ, &err);
	rc = store ? image_store_list(store, &list, &count, &err) : -(int)err.code;
	/* Nothing was ever loaded, and this command needs not make a place for it. */
	if (rc < 0 && !(rc == -(int)ERR_NOT_FOUND && paths.home[0])) {
		print_error(&err);
		return 1;
	}
	if (format)
		print_json(list, count);
	else if (quiet)
		for (size_t i = 0; i < count; i++)
			puts(list[i]->reference);
	else if (count)
		print_table(list, count);
	else
		fprintf(stderr, "No images found.\n");
	for (size_t i = 0; i < count; i++)
		image_free(list[i]);
	free(list);
	image_store_close(store);
	return 0;
}

/** check_unused() - Is there no sandbox that was made from it? */
static int check_unused(struct image_store *store, const char *reference, struct error *err)
{
	struct error why = ERROR_INIT;
	char users[100];
	struct image *img;

	if (image_store_find(store, reference, &img, &why) < 0)
		return 0; /* removing says why */
	image_store_users(store, img->digest, users, sizeof(users));
	image_free(img);
	if (!users[0])
		return 0;
	err_set(err, ERR_EXISTS, 0, "image %.200s is used by sandbox %s", reference, users);
	return err_hint(err, "msb rm removes sandboxes; msb rmi -f the name of the image, what they need stays");
}

int command_rmi(int argc, char **argv)
{
	static bool quiet, force;
	static const struct option_row rows[] = {
		{ 'f', "force", NULL, "also those that sandboxes were made from: they keep what they need", OPTION_FLAG,
		  &force, 0, 0 },
		{ 'q', "quiet", NULL, "print nothing", OPTION_FLAG, &quiet, 0, 0 },
	};
	static const struct command help = { "rmi", "Remove cached images.", "IMAGE...", NULL };
	struct engine_paths paths;
	struct image_store *store;
	struct error err = ERROR_INIT;
	char name[REFERENCE_MAX];
	struct parsed p;
	int status = 0;

	if (parse_options(rows, ARRAY_LEN(rows), ARRAY_LEN(p.words), argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.word_count == 0 || p.extra_count) {
		err_set(&err, ERR_USAGE, 0, p.extra_count ? "rmi: more than %zu images" : "rmi: which image?",
			ARRAY_LEN(p.words));
		return usage_error(&err);
	}
	for (size_t i = 0; i < p.word_count; i++)
		if (reference_normalise(p.words[i], name, &err) < 0)
			return usage_error(&err);
	store = open_store(&paths, ENGINE_WRITE, &err);
	if (!store) {
		print_error(&err);
		return 1;
	}
	for (size_t i = 0; i < p.word_count; i++) {
		err_clear(&err);
		if ((!force && check_unused(store, p.words[i], &err) < 0) ||
		    image_store_remove(store, p.words[i], &err) < 0) {
			print_error(&err);
			status = 1;
		} else if (!quiet) {
			printf("Removed %s\n", p.words[i]);
		}
	}
	image_store_close(store);
	return status;
}
