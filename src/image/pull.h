/* SPDX-License-Identifier: Apache-2.0 */
/** `msb pull`: an image from its registry into the store. Helper program only; the network is msb-registry's (fetch.h).
 */
#ifndef MSB_IMAGE_PULL_H
#define MSB_IMAGE_PULL_H

#include "image/add.h"

#define PULL_WORKERS 4

/** Channels to msb-registry, opened before this process gives sockets up. */
struct pull_channels {
	int own;
	int worker[PULL_WORKERS];
};

int pull_open(struct pull_channels *c, struct error *err);

/**
 * pull_image() - Resolve the reference, fetch and unpack what is missing, name the image.
 * @again: fetch layers that are here too
 * Complete layers stay in the store whatever happens; a layer that was broken off goes on where it was.
 * Return: 0, a negative code, or ERR_CANCELLED after SIGINT, SIGTERM or SIGHUP (blocked by this call).
 */
int pull_image(struct adder *a, struct pull_channels *c, const char *reference, bool again, struct error *err);

#endif
