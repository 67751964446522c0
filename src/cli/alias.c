/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/alias.h"

#include <stdio.h>
#include <string.h>

#include "base/macros.h"

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

int alias_check_name(const char *name, struct error *err)
{
	static const char *const ours[] = { "msb", "agentd", "msb-image", "msb-registry" };

	for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
		if (strcmp(name, ours[i]) == 0) {
			err_set(err, ERR_USAGE, 0, "\"%s\" is a program of msb's own", name);
			return err_hint(err, "choose another name with --name");
		}
	}
	if (!*name || !strchr(ALNUM, name[0]) || name[strspn(name, ALNUM "._-")] || strlen(name) > ALIAS_NAME_MAX ||
	    strstr(name, "..")) {
		err_set(err, ERR_USAGE, 0, "\"%.140s\" cannot be the name of a command", name);
		return err_hint(err, "1 to %d letters, digits, '.', '_' or '-', no \"..\"; choose one with --name",
				ALIAS_NAME_MAX);
	}
	return 0;
}

void alias_name_of(const char *image, char out[ALIAS_NAME_MAX + 1])
{
	size_t length = strcspn(image, "@");
	const char *start = image;

	for (size_t i = 0; i < length; i++)
		if (image[i] == '/')
			start = image + i + 1;
	snprintf(out, ALIAS_NAME_MAX + 1, "%.*s", (int)MIN(length - (size_t)(start - image), ALIAS_NAME_MAX + 0u),
		 start);
	out[strcspn(out, ":")] = '\0';
}

/** quote() - A word as the shell reads it back, whatever is in it; plain words stay plain. */
static void quote(struct buf *out, const char *word)
{
	if (*word && !word[strspn(word, ALNUM "._-/:=,@%+")]) {
		buf_append_str(out, word);
		return;
	}
	buf_append_str(out, "'");
	for (; *word; word++)
		if (*word == '\'')
			buf_append_str(out, "'\\''");
		else
			buf_append(out, word, 1);
	buf_append_str(out, "'");
}

/** comment() - A line of the head; control characters in what it says become '?', so that it stays one line. */
static void comment(struct buf *out, const char *key, const char *value)
{
	buf_printf(out, "# %s: ", key);
	for (; *value; value++) {
		char c = (unsigned char)*value < 0x20 || *value == 0x7f ? '?' : *value;

		buf_append(out, &c, 1);
	}
	buf_append_str(out, "\n");
}

int alias_write(const struct alias *a, struct buf *out, struct error *err)
{
	struct buf command = BUF_INIT(ALIAS_BYTES_MAX);
	const char *said;

	for (size_t i = 0; i < a->command_count; i++) {
		buf_append_str(&command, i ? " " : "");
		quote(&command, a->command[i]);
	}
	said = buf_cstr(&command);
	buf_append_str(out, "#!/bin/sh\n" ALIAS_MARKER "\n");
	comment(out, "image", a->image);
	comment(out, "mode", a->temporary ? "tmp" : "persisted");
	if (said && *said)
		comment(out, "command", said);
	if (a->home) {
		buf_append_str(out, "MSB_HOME=");
		quote(out, a->home);
		buf_append_str(out, "\nexport MSB_HOME\n");
	}
	buf_append_str(out, "exec ");
	quote(out, a->msb);
	buf_append_str(out, " run");
	if (!a->temporary) {
		buf_append_str(out, " --name ");
		quote(out, a->name);
	}
	for (size_t i = 0; i < a->option_count; i++) {
		buf_append_str(out, " ");
		quote(out, a->options[i]);
	}
	buf_append_str(out, " ");
	quote(out, a->image);
	/* Without a command of its own, what is typed becomes the command; nothing typed leaves the image's. */
	if (said && *said)
		buf_printf(out, " -- %s \"$@\"\n", said);
	else
		buf_append_str(out, " ${1+--} \"$@\"\n");
	buf_free(&command);
	if (!said || out->failed)
		return err_set(err, ERR_LIMIT, 0, "the command is longer than %u bytes", ALIAS_BYTES_MAX);
	return 0;
}

/** next_line() - Take a line off the text. Return: its length, the newline passed over. */
static size_t next_line(const char **text, const char **line)
{
	size_t n = strcspn(*text, "\n");

	*line = *text;
	*text += n + ((*text)[n] == '\n');
	return n;
}

bool alias_read(const char *text, struct alias_info *out)
{
	const struct {
		const char *key;
		char *to;
		size_t size;
	} keys[] = {
		{ "# image: ", out->image, sizeof(out->image) },
		{ "# mode: ", out->mode, sizeof(out->mode) },
		{ "# command: ", out->command, sizeof(out->command) },
	};
	const char *line;
	size_t n;

	*out = (struct alias_info){ "-", "-", "-" };
	n = next_line(&text, &line);
	n = next_line(&text, &line);
	if (n != strlen(ALIAS_MARKER) || strncmp(line, ALIAS_MARKER, n) != 0)
		return false;
	while (*text == '#') {
		n = next_line(&text, &line);
		for (size_t i = 0; i < ARRAY_LEN(keys); i++)
			if (strncmp(line, keys[i].key, strlen(keys[i].key)) == 0)
				snprintf(keys[i].to, keys[i].size, "%.*s", (int)(n - strlen(keys[i].key)),
					 line + strlen(keys[i].key));
	}
	return true;
}
