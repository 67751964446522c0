/* SPDX-License-Identifier: Apache-2.0 */
/* msb __tables: what msb knows of itself, as JSON. Manuals and the reference are made of it (tools/make_docs.py). */
#include <stdio.h>

#include "cli/cli.h"

/** member() - One string of an object; none for NULL. */
static void member(const char *name, const char *value, const char *before)
{
	if (!value)
		return;
	printf("%s\"%s\": ", before, name);
	print_json_string(value);
}

/** option() - One that exists and is not there for old habits only. */
static void option(const struct option_row *row, const char *before)
{
	char letter[2] = { row->short_name };

	printf("%s\n      {", before);
	member("name", row->name, "");
	member("short", row->short_name ? letter : NULL, ", ");
	member("value", row->value_name, ", ");
	member("help", row->help, ", ");
	printf("%s}", row->kind == OPTION_LIST ? ", \"repeatable\": true" : "");
}

int command_tables(int argc, char **argv)
{
	struct command_info info;

	(void)argc;
	(void)argv;
	printf("[");
	for (size_t i = 0; command_info(i, &info); i++) {
		bool any = false;

		printf("%s\n  {", i ? "," : "");
		member("name", info.name, "");
		member("alias_of", info.alias_of, ", ");
		if (!info.alias_of) {
			member("group", info.group, ", ");
			member("brief", info.brief, ", ");
			member("summary", info.command.summary, ",\n    ");
			member("usage", info.command.usage, ",\n    ");
			member("details", info.command.details, ",\n    ");
			printf(",\n    \"options\": [");
			for (size_t r = 0; r < info.row_count; r++) {
				if (info.rows[r].kind == OPTION_LATER || !info.rows[r].help)
					continue;
				option(&info.rows[r], any ? "," : "");
				any = true;
			}
			printf("]");
		}
		printf("}");
	}
	printf("\n]\n");
	return 0;
}
