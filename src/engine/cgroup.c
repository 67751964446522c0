/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/num.h"

#define FILE_MAX (1u << 20)

/** One hierarchy that may limit memory. */
struct hierarchy {
	const char *type;	/* of its file system, in mountinfo */
	const char *controller; /* its entry in the second field of the cgroup file; "" : version 2 */
	const char *limit;	/* file with the limit */
};

static const struct hierarchy hierarchies[] = {
	{ "cgroup2", "", "memory.max" },
	{ "cgroup", "memory", "memory.limit_in_bytes" },
};

/** has_word() - Is word one of a list with commas? */
static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, word, n) == 0 && (!at[n] || at[n] == ','))
			return true;
	}
	return false;
}

/** own_path() - The path of our group in a hierarchy: lines "ID:CONTROLLERS:PATH". */
static bool own_path(char *lines, const struct hierarchy *h, char *out, size_t size)
{
	while (lines) {
		char *path = strsep(&lines, "\n");
		const char *id = strsep(&path, ":"), *controllers = strsep(&path, ":");

		if (path && id && (*h->controller ? has_word(controllers, h->controller) : !*controllers))
			return snprintf(out, size, "%s", path) < (int)size;
	}
	return false;
}

/** is_octal() - Three digits of a byte. */
static bool is_octal(const char *s)
{
	return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' && s[2] <= '7';
}

/** unescape() - \040 and the like of mountinfo, in place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (*s == '\\' && is_octal(s + 1)) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/** find_mount() - Where a hierarchy is mounted, and which of its groups is the mount's root. Borrowed from lines. */
static bool find_mount(char *lines, const struct hierarchy *h, const char **point, const char **root)
{
	while (lines) {
		char *line = strsep(&lines, "\n"), *tail = strstr(line, " - "), *field[5] = { NULL };
		const char *type, *options;

		if (!tail)
			continue;
		*tail = '\0';
		tail += 3;
		type = strsep(&tail, " ");
		strsep(&tail, " "); /* source */
		options = tail;
		for (size_t i = 0; i < ARRAY_LEN(field); i++)
			field[i] = strsep(&line, " ");
		if (!field[4] || !options || strcmp(type, h->type) != 0 ||
		    (*h->controller && !has_word(options, h->controller)))
			continue;
		unescape(field[3]);
		unescape(field[4]);
		*root = field[3];
		*point = field[4];
		return true;
	}
	return false;
}

/** read_limit() - Of one group; UINT64_MAX for "max" and for no such file (the root of version 2). */
static uint64_t read_limit(const char *path)
{
	struct buf b = BUF_INIT(64);
	uint64_t limit = UINT64_MAX;

	if (file_read(AT_FDCWD, path, 40, &b, NULL) == 0 && buf_cstr(&b)) {
		((char *)b.data)[strcspn((char *)b.data, "\n")] = '\0';
		if (!num_parse_u64((char *)b.data, UINT64_MAX, &limit))
			limit = UINT64_MAX;
	}
	buf_free(&b);
	return limit;
}

/** smallest() - From our group up to the mount's root. */
static uint64_t smallest(const struct hierarchy *h, const char *point, const char *root, const char *path)
{
	size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
	uint64_t limit = UINT64_MAX;
	char below[PATH_MAX] = "", file[2 * PATH_MAX + 32];

	/* A group outside of what is mounted here (another cgroup namespace): its root is all there is to see. */
	if (strncmp(path, root, n) == 0 && (path[n] == '/' || !path[n]) && !strstr(path, ".."))
		snprintf(below, sizeof(below), "%s", path + n);
	for (;;) {
		char *slash = strrchr(below, '/');

		snprintf(file, sizeof(file), "%s%s/%s", point, below, h->limit);
		limit = MIN(limit, read_limit(file));
		if (!slash)
			return limit;
		*slash = '\0';
	}
}

uint64_t cgroup_memory_limit(const char *cgroup_file, const char *mountinfo_file)
{
	uint64_t limit = UINT64_MAX;

	for (size_t i = 0; i < ARRAY_LEN(hierarchies); i++) {
		struct buf groups = BUF_INIT(FILE_MAX + 1), mounts = BUF_INIT(FILE_MAX + 1);
		const char *point, *root;
		char path[PATH_MAX];

		if (file_read(AT_FDCWD, cgroup_file, FILE_MAX, &groups, NULL) == 0 && buf_cstr(&groups) &&
		    file_read(AT_FDCWD, mountinfo_file, FILE_MAX, &mounts, NULL) == 0 && buf_cstr(&mounts) &&
		    own_path((char *)groups.data, &hierarchies[i], path, sizeof(path)) &&
		    find_mount((char *)mounts.data, &hierarchies[i], &point, &root))
			limit = MIN(limit, smallest(&hierarchies[i], point, root, path));
		buf_free(&groups);
		buf_free(&mounts);
	}
	return limit;
}
