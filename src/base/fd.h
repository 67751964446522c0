/* SPDX-License-Identifier: Apache-2.0 */
/**
 * File descriptors: ownership by scope, whole reads and writes, passing over unix sockets, safe files.
 * Every descriptor made here is close-on-exec; an empty one is -1.
 */
#ifndef MSB_BASE_FD_H
#define MSB_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/macros.h"

/** fd_close() - Close unless -1 and set to -1; keeps errno. */
void fd_close(int *fd);
#define _cleanup_fd_ _cleanup_(fd_close)

int fd_set_nonblock(int fd, bool on);
int fd_set_cloexec(int fd, bool on);

/** fd_read_full() - Read until n bytes or end of file; restarts on EINTR. Return: bytes read, or -1 with errno. */
ssize_t fd_read_full(int fd, void *to, size_t n);
ssize_t fd_pread_full(int fd, void *to, size_t n, off_t offset);
/** fd_write_full() - Write all n bytes to a blocking fd; restarts on EINTR. Return: 0, or -1 with errno. */
int fd_write_full(int fd, const void *from, size_t n);
int fd_pwrite_full(int fd, const void *from, size_t n, off_t offset);

/** fd_memfd() - A memfd with this name (shown in /proc), size bytes long. Return: owned fd, or -1 with errno. */
int fd_memfd(const char *name, uint64_t size, bool sealable);

/** fd_close_except() - Close every descriptor of this process but those in keep (sorted here; -1 is ignored). */
void fd_close_except(int *keep, size_t count);

#define FD_PASS_MAX 64 /* descriptors in one message */

/**
 * fd_send_msg() - Send one message (SOCK_SEQPACKET or SOCK_STREAM) with descriptors attached.
 * @fds: borrowed; the receiver gets duplicates
 * Return: 0, or -1 with errno (EAGAIN on a full non-blocking socket; MSG_NOSIGNAL is used).
 */
int fd_send_msg(int sock, const void *data, size_t n, const int *fds, size_t fd_count);

/**
 * fd_recv_msg() - Receive one message and its descriptors (close-on-exec).
 * @fds: room for FD_PASS_MAX; *fd_count is set; the caller owns them
 * Return: bytes received (0: end of file), or -1 with errno. A truncated message is EMSGSIZE, its descriptors closed.
 */
ssize_t fd_recv_msg(int sock, void *to, size_t max, int *fds, size_t *fd_count);

/** file_read() - Whole file of at most max_bytes into out (appended). Return: 0 or negative code. */
int file_read(int dirfd, const char *path, size_t max_bytes, struct buf *out, struct error *err);
/** file_write_atomic() - Write path.tmp<pid>, fsync, rename over path, fsync the directory. */
int file_write_atomic(int dirfd, const char *path, const void *data, size_t n, mode_t mode, struct error *err);
/** dir_make_parents() - mkdir -p with the mode for each made directory. */
int dir_make_parents(const char *path, mode_t mode, struct error *err);
/** dir_remove_tree() - Remove a directory below dirfd with all in it; never follows symlinks; missing is success. */
int dir_remove_tree(int dirfd, const char *name, struct error *err);

#endif
