/* SPDX-License-Identifier: Apache-2.0 */
/** JSON that a registry or token server answers with: hostile, and bounded by the caller before it comes here. */
#ifndef MSB_REGISTRY_JSON_H
#define MSB_REGISTRY_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_ANSWER_MAX (64u << 10) /* error or token */
#define JSON_LIST_MAX (512u << 10)  /* tags, repositories */
#define LIST_SHOWN 80u		    /* bytes of list_some(), besides how many more there are */
#define TOKEN_MAX (16u << 10)

/** The first error of an answer, OCI distribution: {"errors":[{"code": ..., "message": ...}]}. */
struct registry_error {
	char code[64];	   /* MANIFEST_UNKNOWN...; "" when the answer has none */
	char message[160]; /* one line */
};

/** registry_error_parse() - Return: false when it is no registry's error. */
bool registry_error_parse(const void *p, size_t n, struct registry_error *out);
/**
 * token_parse() - The answer of a token server. @token: room for TOKEN_MAX. @seconds: how long it is good.
 * Return: false when there is no usable token.
 */
bool token_parse(const void *p, size_t n, char *token, uint64_t *seconds);
/** list_nearest() - The string of {KEY: [...]} that is closest to `wanted`. Return: false when none is close. */
bool list_nearest(const void *p, size_t n, const char *key, const char *wanted, char out[256]);
/** list_some() - The first strings of {KEY: [...]}, for a hint: "1, 2, 3 and 9 more". Return: how many there are. */
size_t list_some(const void *p, size_t n, const char *key, char out[256]);

#endif
