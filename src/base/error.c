/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const code_names[] = {
	[ERR_NONE] = "none",
	[ERR_INTERNAL] = "internal",
	[ERR_SYSTEM] = "system",
	[ERR_NO_MEMORY] = "no_memory",
	[ERR_USAGE] = "usage",
	[ERR_INVALID] = "invalid",
	[ERR_NOT_FOUND] = "not_found",
	[ERR_EXISTS] = "exists",
	[ERR_PERMISSION] = "permission",
	[ERR_UNSUPPORTED] = "unsupported",
	[ERR_PROTOCOL] = "protocol",
	[ERR_LIMIT] = "limit",
	[ERR_TIMEOUT] = "timeout",
	[ERR_CLOSED] = "closed",
	[ERR_CANCELLED] = "cancelled",
	[ERR_GUEST_NOT_FOUND] = "guest_not_found",
	[ERR_GUEST_NOT_EXECUTABLE] = "guest_not_executable",
	[ERR_GUEST_SPAWN] = "guest_spawn",
};
_Static_assert(sizeof(code_names) / sizeof(code_names[0]) == ERR_CODE_COUNT, "a name for each code");

const char *err_code_name(enum err_code code)
{
	return (unsigned int)code < ERR_CODE_COUNT ? code_names[code] : "unknown";
}

/**
 * one_line() - Names in a text may come from an archive or a guest: no byte of it may steer a terminal. C0, DEL and the
 * C1 codes (0x80 to 0x9f, alone or in UTF-8) become '?'; other UTF-8 stays.
 */
static void one_line(char *text)
{
	unsigned char before = 0;

	for (unsigned char *p = (unsigned char *)text; *p; before = *p++) {
		bool c1 = *p >= 0x80 && *p < 0xa0 && (before < 0x80 || before == 0xc2);

		if (*p < 0x20 || *p == 0x7f || c1)
			*p = '?';
	}
}

int err_set(struct error *err, enum err_code code, int sys_errno, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (!err)
		return -(int)code;
	err->code = code;
	err->sys_errno = sys_errno;
	err->hint[0] = '\0';
	va_start(ap, fmt);
	n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	if (sys_errno && n >= 0 && (size_t)n < sizeof(err->text))
		snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s", strerror(sys_errno));
	one_line(err->text);
	return -(int)code;
}

int err_wrap(struct error *err, const char *fmt, ...)
{
	char inner[sizeof(err->text)];
	va_list ap;
	int n;

	if (!err)
		return -(int)ERR_INTERNAL;
	memcpy(inner, err->text, sizeof(inner));
	va_start(ap, fmt);
	n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(err->text))
		snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %.*s", (int)(sizeof(inner) - (size_t)n),
			 inner);
	one_line(err->text);
	return -(int)err->code;
}

int err_hint(struct error *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -(int)ERR_INTERNAL;
	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	one_line(err->hint);
	return -(int)err->code;
}

const char *err_advice(const struct error *err)
{
	if (err->code == ERR_GUEST_NOT_FOUND || err->code == ERR_GUEST_NOT_EXECUTABLE || err->code == ERR_GUEST_SPAWN)
		return NULL; /* the errno is the guest's */
	switch (err->sys_errno) {
	case ENOSPC:
	case EDQUOT:
		return "free some space there, or choose another place with MSB_HOME";
	case EROFS:
		return "choose a place that can be written";
	case EACCES:
	case EPERM:
		return "see who may use it: ls -ld, and for each folder above it";
	case ENOENT:
	case ENOTDIR:
		return "check the path";
	case EMFILE:
	case ENFILE:
		return "raise the limit on open files: ulimit -n";
	case EFBIG:
		return "raise the limit on the size of files: ulimit -f";
	case ENOMEM:
		return "free some memory, or raise the limit on it: ulimit -v";
	case EAGAIN:
		return "raise the limit on processes: ulimit -u";
	default:
		return NULL;
	}
}

void err_clear(struct error *err)
{
	err->code = ERR_NONE;
	err->sys_errno = 0;
	err->text[0] = '\0';
	err->hint[0] = '\0';
}

enum err_code err_from_errno(int sys_errno)
{
	switch (sys_errno) {
	case ENOENT:
	case ENOTDIR:
		return ERR_NOT_FOUND;
	case EACCES:
	case EPERM:
	case EROFS:
		return ERR_PERMISSION;
	case EEXIST:
		return ERR_EXISTS;
	case ENOMEM:
		return ERR_NO_MEMORY;
	case EPIPE:
	case ECONNRESET:
		return ERR_CLOSED;
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	default:
		return ERR_SYSTEM;
	}
}
