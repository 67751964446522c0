/* SPDX-License-Identifier: Apache-2.0 */
/* Disk space: image prune, system prune, system df. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/cli.h"
#include "cli/units.h"

int confirm(bool yes, const char *command, const char *what)
{
	struct error err = ERROR_INIT;
	char answer[16];

	if (yes)
		return 0;
	if (!isatty(STDIN_FILENO)) {
		err_set(&err, ERR_USAGE, 0, "%s: standard input is no terminal to ask on", command);
		err_hint(&err, "msb %s -y", command);
		return usage_error(&err);
	}
	fprintf(stderr, "%s Go on? [y/N] ", what);
	if (fgets(answer, sizeof(answer), stdin) && tolower((unsigned char)answer[0]) == 'y')
		return 0;
	fprintf(stderr, "Nothing was done.\n");
	return 1;
}

/** prune() - Both commands: what nobody needs, and with all the images too. */
static int prune(const char *name, const char *summary, bool templates, int argc, char **argv)
{
	static const char *format;
	static bool yes, quiet, all;
	static const struct option_row rows[] = {
		{ 'a', "all", NULL, "also images that no sandbox uses", OPTION_FLAG, &all, 0, 0 },
		{ 'y', "yes", NULL, "do not ask", OPTION_FLAG, &yes, 0, 0 },
		{ 0, "format", "json", "print JSON", OPTION_STRING, &format, 0, 0 },
		{ 'q', "quiet", NULL, "print nothing", OPTION_FLAG, &quiet, 0, 0 },
	};
	const struct command help = { name, summary, "[-a] [-y] [--format json]", NULL };
	struct prune_result r;
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	char size[24];
	struct parsed p;
	int status;

	if (parse_options(rows, ARRAY_LEN(rows), 0, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.extra_count) {
		err_set(&err, ERR_USAGE, 0, "%s: unexpected \"%s\"", name, p.extra[0]);
		return usage_error(&err);
	}
	status = confirm(yes, name,
			 all ? "This removes every cached image and what interrupted pulls left."
			     : "This removes layers that no image needs and what interrupted pulls left.");
	if (status)
		return status;
	if (engine_paths(&paths, ENGINE_WRITE, &err) < 0 || engine_prune(&paths, all, templates, &r, &err) < 0) {
		print_error(&err);
		return 1;
	}
	if (r.busy) {
		err_set(&err, ERR_EXISTS, 0, "%s: images are being added right now", name);
		err_hint(&err, "try again when that is done");
		print_error(&err);
		return 1;
	}
	if (format)
		printf("{\n  \"image_refs_removed\": %llu,\n  \"manifests_removed\": %llu,\n  \"layers_removed\": "
		       "%llu,\n"
		       "  \"partial_downloads_removed\": %llu,\n  \"bytes_reclaimed\": %llu\n}\n",
		       (unsigned long long)r.references, (unsigned long long)r.manifests, (unsigned long long)r.layers,
		       (unsigned long long)r.parts, (unsigned long long)r.bytes);
	else if (!quiet)
		fprintf(stderr, "✓ Removed %llu images, %llu layers, %llu partial downloads: %s\n",
			(unsigned long long)r.references, (unsigned long long)r.layers, (unsigned long long)r.parts,
			unit_size_text(r.bytes, size));
	return 0;
}

int command_image_prune(int argc, char **argv)
{
	return prune("image prune", "Remove what no image needs.", false, argc, argv);
}

int command_system_prune(int argc, char **argv)
{
	return prune("system prune", "Remove what no image and no sandbox needs.", true, argc, argv);
}

int command_system_df(int argc, char **argv)
{
	static const char *format;
	static const struct option_row rows[] = { { 0, "format", "json", "print JSON", OPTION_STRING, &format, 0, 0 } };
	static const struct command help = { "system df", "Show what takes disk space, as allocated.",
					     "[--format json]", NULL };
	struct usage_row list[USAGE_ROWS_MAX];
	struct engine_paths paths;
	struct error err = ERROR_INIT;
	struct parsed p;
	size_t count;

	if (parse_options(rows, ARRAY_LEN(rows), 0, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, rows, ARRAY_LEN(rows));
		return 0;
	}
	if (p.extra_count) {
		err_set(&err, ERR_USAGE, 0, "system df: unexpected \"%s\"", p.extra[0]);
		return usage_error(&err);
	}
	if (engine_paths(&paths, ENGINE_READ, &err) < 0 || engine_usage(&paths, list, &count, &err) < 0) {
		print_error(&err);
		return 1;
	}
	if (!format)
		printf("%-18s    %5s    %-10s    RECLAIMABLE\n", "TYPE", "COUNT", "SIZE");
	for (size_t i = 0; i < count; i++) {
		char size[24], free[24];

		if (format)
			printf("%s\n  {\"type\": \"%s\", \"count\": %llu, \"size_bytes\": %llu, \"reclaimable_bytes\": "
			       "%llu}",
			       i ? "," : "[", list[i].name, (unsigned long long)list[i].count,
			       (unsigned long long)list[i].bytes, (unsigned long long)list[i].reclaimable);
		else
			printf("%-18s    %5llu    %-10s    %s\n", list[i].name, (unsigned long long)list[i].count,
			       unit_size_text(list[i].bytes, size), unit_size_text(list[i].reclaimable, free));
	}
	if (format)
		printf("\n]\n");
	return 0;
}
