/* SPDX-License-Identifier: Apache-2.0 */
/** The certificates that TLS connections trust: the system's, and files that the user adds. */
#ifndef MSB_REGISTRY_TRUST_H
#define MSB_REGISTRY_TRUST_H

#include <stddef.h>

#include "base/error.h"

struct trust;

/** trust_new() - Reads all files now; the system's are parsed when the first server shows its certificate. */
struct trust *trust_new(const char *const *files, size_t count, struct error *err);
void trust_free(struct trust *trust);
/** trust_apply() - Make a connection (its SSL_CTX) trust these and no others. */
void trust_apply(struct trust *trust, void *ssl_ctx);

#endif
