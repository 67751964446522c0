/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Files between host and guest: the host's half of the copies of proto/message.h (PUT, GET, ENTRY, DATA, END). What
 * goes is any tree of files, folders and symbolic links that the user can read; what comes is a guest's word for one
 * and is written below a folder that was opened before, never through a link.
 */
#ifndef MSB_ENGINE_COPY_H
#define MSB_ENGINE_COPY_H

#include "engine/engine.h"
#include "proto/frame.h"

#define COPY_LINK_MAX 4096 /* bytes of a symbolic link's target */

/** Frames on their way to a file or socket. */
struct copy_out {
	int fd; /* borrowed, blocking */
	struct buf pending;
};

#define COPY_OUT_INIT(fd_)                                           \
	{                                                            \
		.fd = (fd_), .pending = BUF_INIT(2 * FRAME_BODY_MAX) \
	}

/** copy_put() - PUT, the tree at a host's path, END. @name: as in struct msg_put. Errors of the sink: ERR_CLOSED. */
int copy_put(struct copy_out *out, const char *source, const char *target, const char *name, bool user,
	     struct error *err);
/** copy_put_scripts() - PUT of programs (0755, root's) to /.msb/scripts, END. */
int copy_put_scripts(struct copy_out *out, const struct script_spec *scripts, size_t count, struct error *err);

/** Where a tree from the guest is written. */
struct copy_in;

/**
 * copy_in_new() - @parent_fd: borrowed folder. @name: what the copy is called in it.
 * @left_out: called for each link that would lead out of the copy, and is not made
 */
struct copy_in *copy_in_new(int parent_fd, const char *name, void (*left_out)(const char *path, const char *target));
/** copy_in_frame() - Take an ENTRY, DATA or END. Return: 1 after END, 0: go on, or a negative code. */
int copy_in_frame(struct copy_in *c, const struct frame *f, struct error *err);
void copy_in_free(struct copy_in *c);

/** One side of msb cp. */
struct copy_side {
	const char *sandbox; /* NULL: the host */
	const char *path;
};

/** engine_copy() - contract 1.9. The sandbox is started for it when it does not run, and stops afterwards. */
int engine_copy(const struct engine_paths *paths, const struct copy_side *from, const struct copy_side *to,
		int cancel_fd, void (*left_out)(const char *path, const char *target), struct error *err);

#endif
