// SPDX-License-Identifier: Apache-2.0
// sources: src/cli/alias.c src/base/buf.c src/base/error.c src/base/log.c
/*
 * The input is a script, and once more one word a line: what is written of these is read back as a script of ours, and
 * outside of quotes it has no character that a shell would act on.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/alias.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char text[8192], words_text[8192];

/** check_exec() - The last line, without its ${1+--} and "$@". */
static void check_exec(char *line)
{
	char *end = strstr(line, " \"$@\"\n");
	bool quoted = false;

	if (strncmp(line, "exec /msb run ", 14) != 0)
		abort();
	for (char *next = end; next; next = strstr(end + 1, " \"$@\"\n"))
		end = next;
	if (!end || strcmp(end, " \"$@\"\n") != 0)
		abort();
	*end = '\0';
	if (end - line > 8 && strcmp(end - 8, " ${1+--}") == 0)
		end[-8] = '\0';
	for (; *line; line++) {
		if (*line == '\'')
			quoted = !quoted;
		else if (!quoted && *line == '\\' && line[1] == '\'')
			line++;
		else if (!quoted && strchr("\n\t\"$`;&|<>()*?[]{}~!#\\", *line))
			abort();
	}
	if (quoted)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf out = BUF_INIT(2 * ALIAS_BYTES_MAX);
	char *rest = words_text, *words[64], name[ALIAS_NAME_MAX + 1];
	struct error err = ERROR_INIT;
	struct alias_info info;
	struct alias alias = { .msb = "/msb", .command = words + 2 };
	size_t n = 0;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	memcpy(words_text, text, sizeof(text));
	if (alias_read(text, &info) && (strlen(info.image) >= sizeof(info.image) || strchr(info.command, '\n')))
		abort();
	while (rest && n < ARRAY_LEN(words))
		words[n++] = strsep(&rest, "\n");
	alias.image = words[0];
	alias_name_of(alias.image, name);
	if (strchr(name, '/') || strchr(name, ':') || (alias_check_name(name, &err) == 0 && strlen(name) > ALIAS_NAME_MAX))
		abort();
	alias.name = name;
	alias.temporary = n > 1 && words[1][0];
	alias.options = (const char *const *)words + 1;
	alias.option_count = n > 1;
	alias.command_count = n > 2 ? n - 2 : 0;
	err_clear(&err);
	if (alias_write(&alias, &out, &err) < 0)
		abort();
	if (!alias_read(buf_cstr(&out), &info) || strcmp(info.mode, alias.temporary ? "tmp" : "persisted") != 0)
		abort();
	check_exec(strstr(buf_cstr(&out), "\nexec ") + 1);
	buf_free(&out);
	return 0;
}
