/* SPDX-License-Identifier: Apache-2.0 */
/** Times as text. Source: RFC 3339, section 5.6. */
#ifndef MSB_BASE_RFC3339_H
#define MSB_BASE_RFC3339_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RFC3339_SIZE 33

/** rfc3339_parse() - All of text, with an offset or Z. @ns: since 1970; years 1970 to 2199 only. */
bool rfc3339_parse(const char *text, size_t n, int64_t *ns);
/** rfc3339_text() - In UTC: "2025-01-31T23:59:59.123456+00:00". Return: to */
const char *rfc3339_text(int64_t ns, char to[RFC3339_SIZE]);

#endif
