/* SPDX-License-Identifier: Apache-2.0 */
/**
 * What a pull is doing, shown while it does it: a line per layer that redraws itself on a terminal, plain lines
 * elsewhere, nothing when quiet. The counters lie in memory that the workers share.
 */
#ifndef MSB_IMAGE_PROGRESS_H
#define MSB_IMAGE_PROGRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "image/reference.h"

enum layer_state {
	LAYER_WAITING,
	LAYER_LOCKED,
	LAYER_FETCHING,
	LAYER_FINISHING,
	LAYER_DONE,
	LAYER_THERE,
	LAYER_FAILED,
	LAYER_STATES
};

/** One layer, shared by its worker (writes) and the coordinator (reads). */
struct layer_progress {
	_Atomic int state;	  /* enum layer_state */
	_Atomic uint64_t taken;	  /* compressed bytes that went through, those of an earlier try included */
	_Atomic uint64_t fetched; /* of them over the network now */
	uint64_t size;		  /* compressed */
	char diff_id[DIGEST_HEX + 1];
};

struct progress {
	bool quiet, terminal;
	struct layer_progress *layers; /* borrowed */
	uint32_t count;
	int lines; /* drawn last */
	int64_t start_ns, shown_ns;
	uint64_t shown_bytes; /* at shown_ns */
	double rate;	      /* bytes a second, smoothed */
	int *told;	      /* states told in plain lines; owned */
};

void progress_start(struct progress *p, struct layer_progress *layers, uint32_t count, bool quiet);
/** progress_show() - Draw; cheap when called often. @final: whatever the time */
void progress_show(struct progress *p, bool final);
/** progress_clear() - Take the drawn lines away, so that a message can stand there. */
void progress_clear(struct progress *p);
void progress_end(struct progress *p);
/** progress_size() - "12.3 MiB". */
void progress_size(uint64_t bytes, char out[24]);

#endif
