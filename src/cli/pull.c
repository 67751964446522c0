/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that move images: pull, save, image import. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/cli.h"
#include "image/reference.h"

/** report() - A failed helper's status: its error is printed unless the helper did. */
static int report(const struct error *err)
{
	print_error(err);
	return err->code == ERR_CANCELLED ? 130 : 1;
}

/** with_paths() - engine_paths(), or the exit status. */
static bool with_paths(struct engine_paths *paths, enum engine_access how, int *status)
{
	struct error err = ERROR_INIT;

	if (engine_paths(paths, how, &err) == 0)
		return true;
	print_error(&err);
	*status = 1;
	return false;
}

int command_pull(int argc, char **argv)
{
	static struct string_list certs;
	static bool force, quiet, insecure;
	static const struct option_row rows[] = {
		{ 'f', "force", NULL, "fetch its layers again, even those that are here", OPTION_FLAG, &force, 0, 0 },
		{ 'q', "quiet", NULL, "print nothing but errors", OPTION_FLAG, &quiet, 0, 0 },
		{ 0, "insecure", NULL, "plain HTTP and unchecked certificates are good enough", OPTION_FLAG, &insecure,
		  0, 0 },
		{ 0, "ca-certs", "FILE", "trust these certificates (PEM) too", OPTION_LIST, &certs, 0, 0 },
	};
	static const struct command help = {
		"pull", "Fetch an image from its registry.", "[OPTIONS] IMAGE",
		"IMAGE is [REGISTRY/]NAME[:TAG][@DIGEST]: of Docker Hub without REGISTRY, latest without TAG.\n"
		"Credentials are those of msb registry login, else config.json's, else docker's.\n"
		"A pull that was interrupted goes on from where it was. What is here already is not fetched again.\n"
	};
	struct pull_spec spec = { 0 };
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	char name[REFERENCE_MAX];
	struct parsed p;
	int status;

	if (parse_options(rows, ARRAY_LEN(rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.word_count != 1 || p.extra_count) {
		err_set(&err, ERR_USAGE, 0, p.extra_count ? "pull: unexpected \"%s\"" : "pull: which image?",
			p.extra_count ? p.extra[0] : "");
		err_hint(&err, "msb pull python:3.12");
		return usage_error(&err);
	}
	if (reference_normalise(p.words[0], name, &err) < 0)
		return usage_error(&err);
	block_signals();
	if (!with_paths(&paths, ENGINE_WRITE, &status))
		return status;
	engine_sweep(&paths);
	spec = (struct pull_spec){ .reference = p.words[0],
				   .quiet = quiet,
				   .again = force,
				   .insecure = insecure,
				   .ca_certs = certs.item,
				   .ca_cert_count = certs.count };
	return engine_pull(&paths, &spec, &err) < 0 ? report(&err) : 0;
}

int command_save(int argc, char **argv)
{
	static const char *format, *output;
	static bool quiet;
	static const struct option_row rows[] = {
		{ 0, "format", "docker|oci", "kind of archive (docker)", OPTION_STRING, &format, 0, 0 },
		{ 'o', "output", "FILE", "write to a file (standard output)", OPTION_STRING, &output, 0, 0 },
		{ 'q', "quiet", NULL, "print nothing", OPTION_FLAG, &quiet, 0, 0 },
	};
	static const struct command help = { "save",
					     "Write images to an archive that msb load, docker load and skopeo read.",
					     "[OPTIONS] IMAGE...",
					     "A layer that several of the images have is in the archive once.\n" };
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	char name[REFERENCE_MAX];
	struct parsed p;
	int status;

	if (parse_options(rows, ARRAY_LEN(rows), ARRAY_LEN(p.words), argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.word_count == 0 || p.extra_count) {
		err_set(&err, ERR_USAGE, 0, p.extra_count ? "save: more than %zu images" : "save: which image?",
			ARRAY_LEN(p.words));
		return usage_error(&err);
	}
	for (size_t i = 0; i < p.word_count; i++)
		if (reference_normalise(p.words[i], name, &err) < 0)
			return usage_error(&err);
	if (!output && isatty(STDOUT_FILENO)) {
		err_set(&err, ERR_USAGE, 0, "save: standard output is a terminal");
		err_hint(&err, "use msb save -o FILE, or pipe the archive on");
		return usage_error(&err);
	}
	block_signals();
	if (!with_paths(&paths, ENGINE_READ, &status))
		return status;
	if (engine_save(&paths, p.words, p.word_count, format && strcmp(format, "oci") == 0, output, &err) < 0)
		return report(&err);
	if (output && !quiet)
		fprintf(stderr, "✓ Saved %zu image%s to %s\n", p.word_count, p.word_count == 1 ? "" : "s", output);
	return 0;
}

int command_image_import(int argc, char **argv)
{
	static struct string_list tags;
	static bool quiet;
	static const struct option_row rows[] = {
		{ 't', "tag", "REF", "name for the image (needed)", OPTION_LIST, &tags, 0, 0 },
		{ 'q', "quiet", NULL, "print nothing", OPTION_FLAG, &quiet, 0, 0 },
	};
	static const struct command help = {
		"image import", "Make an image of a root file system: a directory, a tar, or - for standard input.",
		"DIR|TAR -t NAME", NULL
	};
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	char name[REFERENCE_MAX];
	struct parsed p;
	bool input;
	int status;

	if (parse_options(rows, ARRAY_LEN(rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.word_count != 1 || p.extra_count || !tags.count) {
		if (p.extra_count)
			err_set(&err, ERR_USAGE, 0, "image import: unexpected \"%s\"", p.extra[0]);
		else
			err_set(&err, ERR_USAGE, 0,
				p.word_count ? "image import: which name? (-t NAME)" : "image import: of what?");
		err_hint(&err, "msb image import ./rootfs -t mine:1");
		return usage_error(&err);
	}
	for (size_t i = 0; i < tags.count; i++)
		if (reference_normalise(tags.item[i], name, &err) < 0)
			return usage_error(&err);
	input = strcmp(p.words[0], "-") == 0;
	if (input && isatty(STDIN_FILENO)) {
		err_set(&err, ERR_USAGE, 0, "image import: standard input is a terminal");
		return usage_error(&err);
	}
	block_signals();
	if (!with_paths(&paths, ENGINE_WRITE, &status))
		return status;
	if (engine_import(&paths, input ? NULL : p.words[0], tags.item, tags.count, quiet, &err) < 0)
		return report(&err);
	return 0;
}

int command_image_inspect(int argc, char **argv)
{
	static const char *format;
	static const struct option_row rows[] = { { 0, "format", "json", "print JSON", OPTION_STRING, &format, 0, 0 } };
	static const struct command help = { "image inspect", "Show what an image says of itself.",
					     "[--format json] IMAGE", NULL };
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	char name[REFERENCE_MAX];
	struct parsed p;
	int status;

	if (parse_options(rows, ARRAY_LEN(rows), 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.word_count != 1 || p.extra_count) {
		err_set(&err, ERR_USAGE, 0,
			p.extra_count ? "image inspect: unexpected \"%s\"" : "image inspect: which image?",
			p.extra_count ? p.extra[0] : "");
		return usage_error(&err);
	}
	if (reference_normalise(p.words[0], name, &err) < 0)
		return usage_error(&err);
	if (!with_paths(&paths, ENGINE_READ, &status))
		return status;
	return engine_image_inspect(&paths, p.words[0], format != NULL, &err) < 0 ? report(&err) : 0;
}
