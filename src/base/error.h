/* SPDX-License-Identifier: Apache-2.0 */
/**
 * The error object: caller-owned, never allocates, last parameter of every function that can fail.
 *
 * A fallible function returns 0 (or a value >= 0) on success and a negative enum err_code on failure, or a
 * pointer and NULL. On success the object is untouched; on failure it is set exactly once. Context is put in
 * front as the error climbs (err_wrap), so that one line names what, where and why. Control characters in texts and
 * hints become '?': names in them may come from a guest or an archive, and they end on a terminal. Usable after fork,
 * when memory is exhausted, and in the guest.
 */
#ifndef MSB_BASE_ERROR_H
#define MSB_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

enum err_code {
	ERR_NONE = 0,
	ERR_INTERNAL,	 /* our own bug or a broken promise of a sub-process */
	ERR_SYSTEM,	 /* a system call failed; sys_errno says how */
	ERR_NO_MEMORY,	 /* host memory or a limit of ours is exhausted */
	ERR_USAGE,	 /* visible from the command line alone: exit status 2 */
	ERR_INVALID,	 /* a value or file is not what it must be */
	ERR_NOT_FOUND,	 /* the named thing does not exist */
	ERR_EXISTS,	 /* the name is taken */
	ERR_PERMISSION,	 /* the host refuses */
	ERR_UNSUPPORTED, /* not possible on this host or in this version */
	ERR_PROTOCOL,	 /* a peer (guest, registry, sub-process) broke the protocol */
	ERR_LIMIT,	 /* a stated limit is exceeded */
	ERR_TIMEOUT,
	ERR_CLOSED,	 /* the peer went away */
	ERR_CANCELLED,	 /* the user asked to stop */
	ERR_GUEST_NOT_FOUND,	  /* program not found in the guest: exit status 127 */
	ERR_GUEST_NOT_EXECUTABLE, /* found, cannot be executed: exit status 126 */
	ERR_GUEST_SPAWN,	  /* another spawn failure in the guest */
	ERR_CODE_COUNT
};

struct error {
	enum err_code code;
	int sys_errno; /* 0 where no system call was involved */
	char text[480];
	char hint[160]; /* what to do next; may be empty */
};

/** An error object to start with: struct error err = ERROR_INIT; */
#define ERROR_INIT { .code = ERR_NONE }

/**
 * err_set() - Record a failure.
 * @err:       object; NULL is allowed and then only the code is returned
 * @code:      class of the failure, not ERR_NONE
 * @sys_errno: errno value whose text is appended after ": ", or 0
 * Return: -code, so that a failing line is a single return statement.
 */
int err_set(struct error *err, enum err_code code, int sys_errno, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/** err_wrap() - Put "text: " in front of an error that is already set. Return: its negative code. */
int err_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** err_hint() - Say what the user can do about it (replaces an earlier hint). Return: the negative code. */
int err_hint(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** err_advice() - What to do about a refusal of the host's that nobody gave a hint for, by its errno. May be NULL. */
const char *err_advice(const struct error *err);

/** err_clear() - Make the object reusable after its error was dealt with. */
void err_clear(struct error *err);

/** err_code_name() - Short stable name of a code ("not_found"), for logs and JSON. */
const char *err_code_name(enum err_code code);

/** err_from_errno() - The code that fits an errno value best (ENOENT: ERR_NOT_FOUND, EACCES: ERR_PERMISSION...). */
enum err_code err_from_errno(int sys_errno);

#endif
