/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Between the files of an exchange: exchange.c sends, answer.c judges what comes back, client.c and token.c wake it.
 */
#ifndef MSB_REGISTRY_EXCHANGE_H
#define MSB_REGISTRY_EXCHANGE_H

#include "registry/client.h"

/** exchange_wake() - Its time has come: wake_ns. */
void exchange_wake(struct exchange *x);
/** exchange_token_done() - The token that this exchange waits for came, or its failure did. */
void exchange_token_done(struct exchange *x);

/** exchange_endpoint() - Who is asked now. */
struct endpoint *exchange_endpoint(const struct exchange *x);
/** exchange_send() - Ask the endpoint itself, with the token that its requests need if there is one. */
void exchange_send(struct exchange *x);
/** exchange_hop() - Ask at x->url. @own: it is the endpoint's own origin, so its credentials may go there. */
void exchange_hop(struct exchange *x, bool own);
/**
 * exchange_connect_ms() - How long connecting may take: what is left, shared with the endpoints that are still to come.
 */
long exchange_connect_ms(const struct exchange *x);
/** exchange_later() - Go on from client_step(), not from here. */
void exchange_later(struct exchange *x, int64_t delay_ns);
/** exchange_try_again() - What is in x->failure may pass: wait and ask again, if there were not too many attempts. */
void exchange_try_again(struct exchange *x);
/** exchange_give_up() - This endpoint fails for good, as x->failure says: the next one, or the end. */
void exchange_give_up(struct exchange *x);
/**
 * exchange_finish() - Tell who asked. The failure, where there is one, is in x->failure (PHASE_NEAREST: x->verdict).
 */
void exchange_finish(struct exchange *x);

/** exchange_on_bytes(), exchange_on_end() - Of its hop. */
enum hop_verdict exchange_on_bytes(void *arg, const uint8_t *p, size_t n);
void exchange_on_end(void *arg);
/** exchange_complete() - What was wanted is there. */
void exchange_complete(struct exchange *x);

#endif
