/* SPDX-License-Identifier: Apache-2.0 */
/** Image references, docker's grammar: [registry/]repository[:tag][@sha256:digest]. */
#ifndef MSB_IMAGE_REFERENCE_H
#define MSB_IMAGE_REFERENCE_H

#include "base/error.h"

#define DIGEST_HEX 64
#define REFERENCE_MAX 512
#define REFERENCE_HUB "docker.io"

/** The parts, completed by docker's defaults. */
struct reference {
	char registry[256];		/* host[:port]; docker.io when the user names none */
	char repository[REFERENCE_MAX]; /* library/python */
	char tag[132];			/* "" when only a digest was given */
	char digest[8 + DIGEST_HEX];	/* sha256:HEX, or ""; it decides where a tag is given too */
};

/** reference_parse() - Take a reference apart. Return: 0 or ERR_INVALID with a text that says why. */
int reference_parse(const char *typed, struct reference *out, struct error *err);
/** reference_normalise() - The one way to write it: docker.io/library/python:3.12. */
int reference_normalise(const char *typed, char out[REFERENCE_MAX], struct error *err);
/** reference_pinned() - Tag or digest, whichever decides. */
const char *reference_pinned(const struct reference *r);

#endif
