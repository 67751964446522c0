/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What a user can ask for, without printing. The command line (src/cli) parses, calls this, and prints; other front
 * ends can do the same.
 */
#ifndef MSB_ENGINE_ENGINE_H
#define MSB_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "net/spec.h"
#include "proto/message.h"
#include "state/identity.h"

#define RUN_MEMORY_MIB 512 /* unless the user says otherwise */

enum root_disk_kind { ROOT_DISK_DEFAULT, ROOT_DISK_MANAGED, ROOT_DISK_TMPFS, ROOT_DISK_FLAT, ROOT_DISK_FILE };
enum root_disk_clone { ROOT_DISK_CLONE_AUTO, ROOT_DISK_CLONE_COPY, ROOT_DISK_CLONE_REFLINK };

/** What an image's sandbox writes to (--root-disk). */
struct root_disk {
	enum root_disk_kind kind;
	uint64_t size_mib;	    /* managed, flat: 0: 4096; tmpfs: 0: half the memory */
	enum root_disk_clone clone; /* flat: how the empty disk is made from its template */
	const char *path;	    /* file: borrowed */
	bool qcow2;		    /* file: its format; raw files are written in place */
};

enum hypervisor_choice { HYPERVISOR_CHOICE_AUTO, HYPERVISOR_CHOICE_KVM, HYPERVISOR_CHOICE_QEMU };

/** Where things are; see engine_paths(). All absolute, NUL-terminated. */
struct engine_paths {
	char home[1024];     /* MSB_HOME, default ~/.microsandbox; made 0700 when missing */
	char kernel[1024];   /* guest kernel: MSB_LIBKRUNFW_PATH, else HOME/lib/libkrunfw-*.vmlinux (newest), else the
			      * build cache; "" when none was found */
	char qemu[1024];     /* MSB_QEMU_PATH, else qemu-system-x86_64 on PATH; "" when none */
	char helper[1024];   /* msb-image beside the msb program (symlinks resolved), "" when missing */
	char registry[1024]; /* msb-registry, likewise */
	char gateway[1024];  /* msb-gateway, likewise */
};

/** engine_use_agent() - The agent's initramfs (linked into the program). Once, at start; borrowed for ever. */
void engine_use_agent(const void *initramfs, size_t size);

/** engine_use_kernel() - The guest kernel unless MSB_LIBKRUNFW_PATH names one. Before engine_paths(); kept. */
void engine_use_kernel(const char *path);

enum engine_access {
	ENGINE_READ,  /* nothing is made: a read-only or missing state folder will do */
	ENGINE_WRITE, /* the state folder is made, and must be ours to write */
};

/** engine_paths() - Find what every command needs. On failure too, out holds what was found. */
int engine_paths(struct engine_paths *out, enum engine_access how, struct error *err);

struct pull_spec {
	const char *reference;
	bool quiet, again, insecure;
	const char *const *ca_certs; /* PEM files besides the system's */
	size_t ca_cert_count;
};

enum pull_policy { PULL_IF_MISSING, PULL_ALWAYS, PULL_NEVER };

#define SCRIPTS_MAX 64
#define COPIES_MAX 60

struct script_spec {
	const char *name; /* as it is called in the guest */
	const void *data;
	size_t size;
};

struct copy_spec {
	const char *source, *target; /* on the host; in the guest, absolute */
};

/** What `run` needs to know; strings and arrays are borrowed. Zero means: the default. */
struct run_spec {
	const char *image; /* as typed: a reference, or the path of a disk image */
	enum pull_policy pull;
	struct pull_spec pull_spec; /* how to pull; reference is filled in */
	struct root_disk root_disk;
	char *const *command; /* words after --; may be empty */
	size_t command_count;
	uint64_t memory_mib;	/* 0: RUN_MEMORY_MIB */
	unsigned int cpus;	/* 0: 1 */
	const char *const *env; /* KEY=VALUE */
	size_t env_count;
	const char *workdir, *user, *hostname, *shell;
	const char *entrypoint; /* NULL: the image's; "" : none */
	const struct msg_rlimit *rlimits;
	size_t rlimit_count;
	bool interactive; /* stdin is a terminal and --no-tty was not given: empty command means a shell */
	bool tty;	  /* give the command a pty */
	bool stdin_open;  /* false: /dev/null */
	uint16_t rows, cols;
	const char *term; /* TERM for the pty, NULL: xterm */
	enum hypervisor_choice hypervisor;

	/* Persistent sandboxes; what is stored of them is in sandbox_json.c. */
	const char *name;	   /* NULL: generated */
	const char *digest;	   /* of the image when it was made: "sha256:..." */
	const char *const *labels; /* KEY=VALUE */
	size_t label_count;
	const struct msg_mount *tmpfs;
	size_t tmpfs_count;
	const struct script_spec *scripts; /* programs at /.msb/scripts */
	size_t script_count;
	const struct copy_spec *copies; /* of host files, before it starts for the first time */
	size_t copy_count;
	const char *const *mkdirs, *const *removes; /* patches: absolute paths in the guest */
	size_t mkdir_count, remove_count;
	const char *init; /* NULL: the agent stays the first process */
	const char *const *init_args, *const *init_env;
	size_t init_arg_count, init_env_count;
	bool restricted;			 /* --security restricted */
	const struct net_spec *net;		 /* NULL: net_spec_default(); never so of sandbox.json */
	uint64_t max_duration_s, idle_timeout_s; /* 0: no limit */
	const struct run_place *place;		 /* NULL: ephemeral */
};

/** Where a persistent sandbox is: filled by the engine. */
struct run_place {
	int dir_fd, lock_fd; /* borrowed; the lock is held */
	bool first; /* it was just made */
	bool on_use, remove_at_end, workload;
	bool needs_command; /* it is made for one: without any, it is not made */
};

/** A started command: the CLI now pumps frames (proto/frame.h, session side) over fd until FRAME_EXITED. */
struct run_session {
	int fd;			/* SOCK_STREAM, non-blocking: session frames */
	int control_fd;		/* engine's own: the supervisor; closing it ends the sandbox */
	int supervisor_pid;	/* engine's own */
	char name[132];		/* of the sandbox */
	char sandbox_dir[1300]; /* removed by engine_run_finish() whatever happened */
	bool on_qemu;
	bool note_fallback; /* auto fell back to QEMU, and this boot and user was not told yet (marker is set now) */
	char fallback_reason[200]; /* why KVM was not used */
	bool orderly;		   /* a disk outlives the sandbox: its end takes the time of a shutdown */
	bool nothing_to_run; /* no command and not interactive: nothing was started; exit status 0 after a warning */
	bool exited;	     /* set by the caller when FRAME_EXITED arrived: finish need not ask why it ended */
	int starter_fd;	     /* of a sandbox that was started for something else than a command */
	bool out_of_memory, disk_full; /* set by the caller: what FRAME_EXITED said */
	uint64_t memory_mib;	       /* of the machine */
	bool started_for_it; /* a persistent sandbox that was started for this session */
	struct identity supervisor; /* of a persistent sandbox */
	char stage[32];		    /* where a failure happened: "image", "boot"... */
};

/**
 * engine_run_start() - Resolve the image and the command, boot an ephemeral sandbox, start the command in it.
 * On failure nothing is left behind. Blocks until the guest confirmed the start (FRAME_STARTED consumed) or refused
 * it (ERR_GUEST_NOT_FOUND 127, ERR_GUEST_NOT_EXECUTABLE 126, ERR_GUEST_SPAWN). @cancel_fd: readable when the user
 * wants to stop (signalfd), watched while booting, -1: none; then ERR_CANCELLED.
 */
int engine_run_start(const struct run_spec *spec, int cancel_fd, struct run_session *out, struct error *err);
/**
 * engine_run_finish() - Tear down: closes fd, waits until supervisor and machine are gone (bounded), removes leftovers.
 * Return: 0, or (when !s->exited) the reason why the sandbox ended by itself.
 */
int engine_run_finish(struct run_session *s, struct error *err);

/** engine_image_is_path() - Does an IMAGE name a file (it begins with /, ./ or ../) and not a reference? */
static inline bool engine_image_is_path(const char *typed)
{
	return typed[0] == '/' || strncmp(typed, "./", 2) == 0 || strncmp(typed, "../", 3) == 0 ||
	       strcmp(typed, ".") == 0 || strcmp(typed, "..") == 0;
}

/** engine_sweep() - Remove what dead sandboxes left under MSB_HOME; cheap when there is nothing. For every command. */
void engine_sweep(const struct engine_paths *paths);

/** engine_load() - Run the helper msb-image to load an archive. @path: file, or NULL for standard input. Output of the
 * helper ("Loaded REF" lines) goes to stdout, progress to stderr unless quiet. Return: 0 or a failure; its text is
 * empty when the helper has printed the reason itself. */
int engine_load(const struct engine_paths *paths, const char *path, const char *const *tags, size_t tag_count,
		bool quiet, struct error *err);

/**
 * engine_pull() - An image from its registry into the store; "up to date" after one question when nothing changed.
 * Progress on standard error unless quiet. Return: 0; ERR_CANCELLED; else a failure; its text is empty when it was
 * printed.
 */
int engine_pull(const struct engine_paths *paths, const struct pull_spec *spec, struct error *err);
/** engine_save() - An archive of images to a file, or to standard output (path NULL). Return: as engine_pull(). */
int engine_save(const struct engine_paths *paths, const char *const *references, size_t count, bool oci,
		const char *path, struct error *err);
/** engine_image_inspect() - Print what an image says of itself. Return: as engine_pull(). */
int engine_image_inspect(const struct engine_paths *paths, const char *reference, bool json, struct error *err);
/** engine_import() - A root file system, directory or tar (NULL: standard input), as an image of one layer. */
int engine_import(const struct engine_paths *paths, const char *path, const char *const *tags, size_t tag_count,
		  bool quiet, struct error *err);
/** engine_registry() - Run msb-registry with these words (login, logout, ls). @input: its standard input, -1: ours. */
int engine_registry(const struct engine_paths *paths, const char *const *words, size_t count, int input,
		    struct error *err);

struct prune_result {
	uint64_t references, manifests, layers, parts, bytes; /* bytes as allocated on the disk */
	bool busy;					      /* nothing was removed: somebody is adding images */
};

/** engine_prune() - Remove what nobody needs. @all: images too; @templates: empty disks kept for the next sandbox too
 */
int engine_prune(const struct engine_paths *paths, bool all, bool templates, struct prune_result *out,
		 struct error *err);

#define USAGE_ROWS_MAX 8

/** One kind of thing that takes disk space; bytes as allocated. */
struct usage_row {
	const char *name;
	uint64_t count, bytes, reclaimable;
};

int engine_usage(const struct engine_paths *paths, struct usage_row rows[USAGE_ROWS_MAX], size_t *count,
		 struct error *err);

#endif
