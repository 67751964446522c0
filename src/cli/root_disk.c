/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/root_disk.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/units.h"

#define OPTION "root-disk"

/** bad() - A form that is none of ours. */
static int bad(const char *text, const char *why, struct error *err)
{
	err_set(err, ERR_USAGE, 0, "--" OPTION ": \"%.200s\": %s", text, why);
	return err_hint(err, "use SIZE, tmpfs[:SIZE], flat[:SIZE][,clone=copy] or ./FILE[:format=raw|qcow2]");
}

/** set_option() - One KEY=VALUE. Every file system is ext4; format belongs to files, clone to flat disks. */
static int set_option(const char *text, const char *option, struct root_disk *out, struct error *err)
{
	if (strcmp(option, "fstype=ext4") == 0)
		return 0;
	if (strncmp(option, "fstype=", 7) == 0)
		return bad(text, "the only fstype is ext4", err);
	if (out->kind == ROOT_DISK_FILE && strncmp(option, "format=", 7) == 0) {
		out->qcow2 = strcmp(option, "format=qcow2") == 0;
		return out->qcow2 || strcmp(option, "format=raw") == 0 ? 0 : bad(text, "format is raw or qcow2", err);
	}
	if (out->kind == ROOT_DISK_FLAT && strncmp(option, "clone=", 6) == 0) {
		static const char *const names[] = { [ROOT_DISK_CLONE_AUTO] = "auto",
						     [ROOT_DISK_CLONE_COPY] = "copy",
						     [ROOT_DISK_CLONE_REFLINK] = "reflink" };

		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (strcmp(option + 6, names[i]) == 0) {
				out->clone = (enum root_disk_clone)i;
				return 0;
			}
		return bad(text, "clone is auto, copy or reflink", err);
	}
	return bad(text, "unknown option", err);
}

/** set_options() - A list of KEY=VALUE with commas between them; taken apart in place. */
static int set_options(const char *text, char *list, struct root_disk *out, struct error *err)
{
	while (list)
		if (set_option(text, strsep(&list, ","), out, err) < 0)
			return -(int)err->code;
	return 0;
}

/** options_of() - Where the options of FILE begin: behind its last ':' with a '=' after it, or ",fstype=". */
static char *options_of(char *file)
{
	char *colon = strrchr(file, ':');

	return colon && strchr(colon, '=') ? colon : strstr(file, ",fstype=");
}

/** parse_file() - A path is known by how it begins, like those of disk images in IMAGE's place. */
static int parse_file(const char *text, char *copy, struct root_disk *out, struct error *err)
{
	char *options = options_of(copy);
	size_t n;

	*out = (struct root_disk){ .kind = ROOT_DISK_FILE, .path = copy };
	if (options)
		*options++ = '\0';
	n = strlen(copy);
	out->qcow2 = n > 6 && strcmp(copy + n - 6, ".qcow2") == 0;
	return set_options(text, options, out, err);
}

/** parse_kind() - tmpfs and flat: an optional size behind a colon, options behind commas. */
static int parse_kind(const char *text, char *rest, enum root_disk_kind kind, struct root_disk *out, struct error *err)
{
	char *options = rest;
	const char *head = strsep(&options, ",");
	uint64_t least = kind == ROOT_DISK_TMPFS ? 1 : ROOT_DISK_MIB_MIN;

	*out = (struct root_disk){ .kind = kind };
	if (head[0] == ':' && unit_size_mib(OPTION, head + 1, least, ROOT_DISK_MIB_MAX, &out->size_mib, err) < 0)
		return -(int)err->code;
	if (options && kind == ROOT_DISK_TMPFS)
		return bad(text, "tmpfs takes no options", err);
	return set_options(text, options, out, err);
}

/** is_kind() - "NAME", "NAME:..." or "NAME,...". */
static bool is_kind(const char *text, const char *name)
{
	size_t n = strlen(name);

	return strncmp(text, name, n) == 0 && (!text[n] || text[n] == ':' || text[n] == ',');
}

int root_disk_parse(const char *text, struct root_disk *out, struct error *err)
{
	char *copy;
	int rc;

	if (isdigit((unsigned char)text[0])) {
		*out = (struct root_disk){ .kind = ROOT_DISK_MANAGED };
		return unit_size_mib(OPTION, text, ROOT_DISK_MIB_MIN, ROOT_DISK_MIB_MAX, &out->size_mib, err);
	}
	copy = strdup(text);
	if (!copy)
		return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
	if (engine_image_is_path(text)) {
		rc = parse_file(text, copy, out, err);
		if (rc == 0)
			return 0; /* with the copy in it */
	} else if (is_kind(text, "tmpfs"))
		rc = parse_kind(text, copy + 5, ROOT_DISK_TMPFS, out, err);
	else if (is_kind(text, "flat"))
		rc = parse_kind(text, copy + 4, ROOT_DISK_FLAT, out, err);
	else
		rc = bad(text, "neither a size nor tmpfs, flat or a path that begins with / or ./", err);
	free(copy);
	return rc;
}
