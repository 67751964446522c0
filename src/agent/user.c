/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/num.h"

#define LINE_MAX_BYTES 4096
#define FIELDS_MAX 8
#define FILE_MAX_BYTES (16L << 20)

/* The unit test puts its own files here. */
#ifndef AGENT_PASSWD
#define AGENT_PASSWD "/etc/passwd"
#define AGENT_GROUP "/etc/group"
#endif

/** split() - Cut a line at ':' in place. Return: number of fields. */
static int split(char *line, char *fields[FIELDS_MAX])
{
	int n = 0;

	while (line && n < FIELDS_MAX)
		fields[n++] = strsep(&line, ":");
	return n;
}

/** each_line() - Read a colon file; stop when fn returns true. Lines longer than the limit are passed over. */
static bool each_line(const char *path, bool (*fn)(char *fields[], int count, void *arg), void *arg)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* the guest may have put a FIFO there */
	char line[LINE_MAX_BYTES];
	bool found = false, skip = false;
	struct stat st;
	FILE *file;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES || !(file = fdopen(fd, "r"))) {
		close(fd);
		return false;
	}
	while (!found && ftell(file) < FILE_MAX_BYTES && fgets(line, sizeof(line), file)) {
		char *fields[FIELDS_MAX], *end = strchr(line, '\n');
		bool cut = !end && strlen(line) == sizeof(line) - 1;

		if (end)
			*end = '\0';
		if (!skip && !cut)
			found = fn(fields, split(line, fields), arg);
		skip = cut;
	}
	fclose(file);
	return found;
}

struct lookup {
	const char *name; /* NULL: by id */
	uint64_t id;
	struct user *user;
	uint64_t gid;
	char found[256]; /* the user's name, for supplementary groups */
};

/** match_passwd() - name:x:uid:gid:gecos:home:shell */
static bool match_passwd(char *fields[], int count, void *arg)
{
	struct lookup *l = arg;
	uint64_t uid, gid;

	if (count < 6 || !num_parse_u64(fields[2], UINT32_MAX - 1, &uid) ||
	    !num_parse_u64(fields[3], UINT32_MAX - 1, &gid))
		return false;
	if (l->name ? strcmp(fields[0], l->name) != 0 : uid != l->id)
		return false;
	l->user->uid = (uid_t)uid;
	l->user->gid = (gid_t)gid;
	snprintf(l->user->home, sizeof(l->user->home), "%s", fields[5][0] ? fields[5] : "/");
	snprintf(l->found, sizeof(l->found), "%s", fields[0]);
	return true;
}

/** match_group() - name:x:gid:members */
static bool match_group(char *fields[], int count, void *arg)
{
	struct lookup *l = arg;

	return count >= 3 && strcmp(fields[0], l->name) == 0 && num_parse_u64(fields[2], UINT32_MAX - 1, &l->gid);
}

/** add_group() - Every group that lists the user. */
static bool add_group(char *fields[], int count, void *arg)
{
	struct lookup *l = arg;
	char *members = count >= 4 ? fields[3] : NULL;
	uint64_t gid;

	if (!members || !num_parse_u64(fields[2], UINT32_MAX - 1, &gid))
		return false;
	while (members) {
		if (strcmp(strsep(&members, ","), l->found) == 0 && l->user->group_count < USER_GROUPS_MAX) {
			l->user->groups[l->user->group_count++] = (gid_t)gid;
			break;
		}
	}
	return false;
}

bool user_resolve(const char *spec, struct user *out, struct failure *f)
{
	char copy[256];
	char *group = copy, *name;
	struct lookup l = { .user = out };
	bool known;

	*out = (struct user){ .home = "/" };
	snprintf(copy, sizeof(copy), "%s", spec && *spec ? spec : "0");
	name = strsep(&group, ":");
	if (!*name)
		name = (char *)(uintptr_t)"0";
	if (group && !*group)
		group = NULL;
	if (num_parse_u64(name, UINT32_MAX - 1, &l.id)) {
		out->uid = (uid_t)l.id;
		if (l.id == 0)
			snprintf(out->home, sizeof(out->home), "/root");
	} else {
		l.name = name;
	}
	known = each_line(AGENT_PASSWD, match_passwd, &l);
	if (!known && l.name)
		return fail(f, MSG_FAIL_BAD_USER, 0, "user \"%s\" is not in the image's /etc/passwd", name);
	if (known && !group)
		each_line(AGENT_GROUP, add_group, &l);
	if (group) {
		uint64_t gid;

		l.name = group;
		if (!num_parse_u64(group, UINT32_MAX - 1, &gid)) {
			if (!each_line(AGENT_GROUP, match_group, &l))
				return fail(f, MSG_FAIL_BAD_USER, 0, "group \"%s\" is not in the image's /etc/group",
					    group);
			gid = l.gid;
		}
		out->gid = (gid_t)gid;
	}
	return true;
}
