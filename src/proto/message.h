/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Bodies of the structured frames: one CBOR map each, small unsigned keys, definite lengths, no tags or floats.
 *
 * Strings are CBOR byte strings whose last byte is a NUL and that have no other, so that a decoded message can
 * point into the frame it came from: decoding allocates nothing and the frame must outlive the struct. Unknown
 * keys are skipped (newer peers), wrong types and duplicate keys are errors. An absent string is NULL.
 * Source: RFC 8949, section 3 and 4.2.1 (deterministic encoding of what we write).
 */
#ifndef MSB_PROTO_MESSAGE_H
#define MSB_PROTO_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define MSG_STRINGS_MAX 4096	/* argv or env entries in one message */
#define MSG_RLIMITS_MAX 16
#define MSG_HOSTNAME_MAX 64
#define MSG_MOUNTS_MAX 16
#define MSG_NET_PREFIX4 30
#define MSG_NET_PREFIX6 64

struct msg_strings {
	uint32_t count;
	const char *item[MSG_STRINGS_MAX];
};

struct msg_hello {
	uint64_t version;	 /* PROTO_VERSION */
	uint64_t kernel_ns;	 /* CLOCK_BOOTTIME when the agent started: time the kernel took */
};

/**
 * Where the root comes from. Overlay: the image (/dev/vda) below an upper. Disk: a file system on /dev/vda or one of
 * its partitions. Flat: the image (/dev/vda) is copied to the empty ext4 on /dev/vdb, which is the root.
 */
enum msg_root { MSG_ROOT_OVERLAY = 0, MSG_ROOT_DISK = 1, MSG_ROOT_FLAT = 2 };
enum msg_upper { MSG_UPPER_TMPFS = 0, MSG_UPPER_EXT4 = 1 };

/** A tmpfs of the user's. */
struct msg_mount {
	const char *path;	  /* absolute; parents are made */
	uint64_t bytes;		  /* 0: half the memory */
	uint64_t mode;		  /* 0: 01777 */
	bool read_only, noexec, nosuid, nodev;
};

/** Everything the agent knows of the sandbox; it has no other source of configuration. */
struct msg_boot {
	const char *hostname;	  /* <= MSG_HOSTNAME_MAX */
	uint64_t upper;		  /* enum msg_upper; ext4 is /dev/vdb. The image (EROFS) is /dev/vda */
	uint64_t upper_bytes;	  /* size of a tmpfs upper; 0: half the memory */
	uint64_t tmp_bytes;	  /* size of the implicit tmpfs at /tmp; 0: none */
	uint64_t realtime_ns;	  /* host's CLOCK_REALTIME now */
	const char *user;	  /* default USER of sessions, "" or NULL: root */
	const char *workdir;	  /* default working directory; must exist; NULL: / */
	struct msg_strings env;	  /* default environment, "KEY=VALUE" */
	uint64_t root;		  /* enum msg_root; upper and upper_bytes matter to an overlay only */
	uint32_t tmpfs_count;
	struct msg_mount tmpfs[MSG_MOUNTS_MAX]; /* one at /tmp takes the place of the implicit one */
	bool restricted;	  /* sessions: no_new_privs, no CAP_SYS_ADMIN; tmpfs: nosuid, nodev */
	const char *init;	  /* who becomes PID 1: absolute path, or "auto"; NULL: the agent stays it */
	struct msg_strings init_args, init_env;
	struct msg_strings mkdirs;  /* absolute paths: made, parents too, when all is mounted */
	struct msg_strings removes; /* absolute paths: removed, folders with all in them, before that */
	/* eth0, of a network of MSG_NET_PREFIX4 and MSG_NET_PREFIX6 bits; NULL: without this family, or at all */
	const char *ip4, *gateway4, *ip6, *gateway6;
};

struct msg_ready {
	uint64_t uid, gid;	  /* of the default user */
	uint64_t boot_ns;	  /* CLOCK_BOOTTIME when everything was mounted */
};

enum msg_failure {
	MSG_FAIL_OTHER = 0,
	MSG_FAIL_NOT_FOUND,	  /* 127 */
	MSG_FAIL_NOT_EXECUTABLE,  /* 126: no permission, a directory, or not a program */
	MSG_FAIL_BAD_CWD,
	MSG_FAIL_BAD_USER,
	MSG_FAIL_BAD_ARGS,
	MSG_FAIL_RLIMIT,
	MSG_FAIL_NO_MEMORY,
	MSG_FAIL_PTY,
	MSG_FAIL_MOUNT,		  /* boot only */
	MSG_FAIL_DISK,		  /* what is on a disk, or does not fit there */
	MSG_FAIL_STOPPING,	  /* the guest is shutting down: nothing new starts */
	MSG_FAIL_NETWORK,	  /* the host's part of it */
	MSG_FAIL_COUNT
};

struct msg_failed {
	uint64_t kind;		  /* enum msg_failure */
	uint64_t sys_errno;
	const char *text;	  /* for people: what and where */
};

#define MSG_RLIMIT_NAMES 16
/** By RLIMIT_*: "cpu", "fsize"... as ulimit's manual and users call them. */
extern const char *const msg_rlimit_names[MSG_RLIMIT_NAMES];

struct msg_rlimit {
	uint64_t resource;	  /* RLIMIT_* of Linux x86_64 */
	uint64_t soft, hard;	  /* UINT64_MAX: unlimited */
};

struct msg_exec {
	struct msg_strings argv;  /* at least one; argv[0] is looked up in PATH unless it has a slash */
	struct msg_strings env;	  /* on top of the sandbox's; KEY=VALUE */
	const char *cwd;	  /* NULL: the sandbox's */
	const char *user;	  /* NULL: the sandbox's */
	bool tty;
	bool stdin_open;	  /* false: /dev/null */
	uint64_t rows, cols;
	uint32_t rlimit_count;
	struct msg_rlimit rlimits[MSG_RLIMITS_MAX];
};

struct msg_started { uint64_t pid; };
struct msg_resize { uint64_t rows, cols; };
struct msg_signal { uint64_t number; };
struct msg_taken { uint64_t bytes; };
struct msg_clock { uint64_t realtime_ns; };

struct msg_exited {
	bool signaled;
	uint64_t code;		  /* exit status 0..255, or the signal's number */
	bool oom;		  /* it, or one of its processes, was killed because the guest's memory ran out */
	bool disk_full;		  /* it failed, and nothing more fits on the writable disk */
};

/** How long processes may take to end after SIGTERM; then SIGKILL. The agent does not wait longer than they need. */
struct msg_shutdown { uint64_t grace_ms; };

/** The guest's own figures. */
struct msg_stats {
	uint64_t memory_total, memory_available; /* bytes */
	uint64_t upper_total, upper_free;	 /* bytes of the writable disk; 0 when there is none */
	uint64_t oom_kills;			 /* since boot */
	uint64_t cpu_ns;			 /* used by all CPUs since boot, user and system */
	uint64_t processes;			 /* but the agent's */
};

/** Copy to the guest: the entries that follow. */
struct msg_put {
	const char *path;	  /* absolute */
	const char *name;	  /* where path is a folder or ends in '/', path/name is made; NULL: always path */
	bool user;		  /* what is made belongs to the sandbox's default user; false: to root */
};

/** Copy from the guest: a symbolic link at the end of the path is itself what is copied. */
struct msg_get {
	const char *path;	  /* absolute */
};

enum msg_entry_type { MSG_ENTRY_FILE = 0, MSG_ENTRY_DIR, MSG_ENTRY_SYMLINK, MSG_ENTRY_TYPE_COUNT };

#define MSG_ENTRY_DEPTH_MAX 128	      /* folders above an entry */
#define MSG_ENTRY_SIZE_UNKNOWN UINT64_MAX /* a file whose size only its end tells, as in /proc */

struct msg_entry {
	const char *path;	  /* below what is copied, "a/b" without "." and ".."; "": that itself */
	uint64_t type;		  /* enum msg_entry_type */
	uint64_t mode;		  /* 07777 */
	bool has_owner;
	uint64_t uid, gid;
	uint64_t mtime_ns;	  /* since 1970; 0: now */
	uint64_t size;		  /* of a file: at most so many bytes of DATA follow */
	const char *target;	  /* of a symbolic link */
};

/** What was written. */
struct msg_done { uint64_t entries, bytes; };

/** msg_entry_path_ok() - Is this a path that an entry may have? */
bool msg_entry_path_ok(const char *path);

/* Encoders append one body to out; false when it does not fit (out->failed). */
bool msg_encode_hello(struct buf *out, const struct msg_hello *m);
bool msg_encode_boot(struct buf *out, const struct msg_boot *m);
bool msg_encode_ready(struct buf *out, const struct msg_ready *m);
bool msg_encode_failed(struct buf *out, const struct msg_failed *m);
bool msg_encode_exec(struct buf *out, const struct msg_exec *m);
bool msg_encode_started(struct buf *out, const struct msg_started *m);
bool msg_encode_resize(struct buf *out, const struct msg_resize *m);
bool msg_encode_signal(struct buf *out, const struct msg_signal *m);
bool msg_encode_taken(struct buf *out, const struct msg_taken *m);
bool msg_encode_clock(struct buf *out, const struct msg_clock *m);
bool msg_encode_exited(struct buf *out, const struct msg_exited *m);
bool msg_encode_shutdown(struct buf *out, const struct msg_shutdown *m);
bool msg_encode_stats(struct buf *out, const struct msg_stats *m);
bool msg_encode_put(struct buf *out, const struct msg_put *m);
bool msg_encode_get(struct buf *out, const struct msg_get *m);
bool msg_encode_entry(struct buf *out, const struct msg_entry *m);
bool msg_encode_done(struct buf *out, const struct msg_done *m);

/* Decoders fill *m from a whole body (what is absent: zero, NULL, no entries); false: it is not one valid message. */
bool msg_decode_hello(const uint8_t *p, size_t n, struct msg_hello *m);
bool msg_decode_boot(const uint8_t *p, size_t n, struct msg_boot *m);
bool msg_decode_ready(const uint8_t *p, size_t n, struct msg_ready *m);
bool msg_decode_failed(const uint8_t *p, size_t n, struct msg_failed *m);
bool msg_decode_exec(const uint8_t *p, size_t n, struct msg_exec *m);
bool msg_decode_started(const uint8_t *p, size_t n, struct msg_started *m);
bool msg_decode_resize(const uint8_t *p, size_t n, struct msg_resize *m);
bool msg_decode_signal(const uint8_t *p, size_t n, struct msg_signal *m);
bool msg_decode_taken(const uint8_t *p, size_t n, struct msg_taken *m);
bool msg_decode_clock(const uint8_t *p, size_t n, struct msg_clock *m);
bool msg_decode_exited(const uint8_t *p, size_t n, struct msg_exited *m);
bool msg_decode_shutdown(const uint8_t *p, size_t n, struct msg_shutdown *m);
bool msg_decode_stats(const uint8_t *p, size_t n, struct msg_stats *m);
bool msg_decode_put(const uint8_t *p, size_t n, struct msg_put *m);
bool msg_decode_get(const uint8_t *p, size_t n, struct msg_get *m);
bool msg_decode_entry(const uint8_t *p, size_t n, struct msg_entry *m);
bool msg_decode_done(const uint8_t *p, size_t n, struct msg_done *m);

#endif
