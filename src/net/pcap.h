/* SPDX-License-Identifier: Apache-2.0 */
/**
 * A capture of what passes between guest and gateway, in pcapng, as on the guest's wire: large frames that the card
 * would cut, and checksums that it would make, are as they are. A capture never holds up traffic: what the file does
 * not take is left out and counted in the log; a file that fails ends the capture.
 *
 * Source: draft-ietf-opsawg-pcapng, 4.1 (section header), 4.2 (interface), 4.3 (enhanced packet).
 */
#ifndef MSB_NET_PCAP_H
#define MSB_NET_PCAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

#define PCAP_BUFFER_MAX 1048576 /* bytes that wait for the file */

struct pcap;

/** pcap_new() - @fd: taken, also on failure. Return: owned, or NULL. */
struct pcap *pcap_new(int fd, struct error *err);
/** pcap_free() - Write what waits; NULL is ignored. */
void pcap_free(struct pcap *p);
/** pcap_add() - A frame, from its Ethernet header on, without the first `skip` bytes of iov[0]. */
void pcap_add(struct pcap *p, const struct iovec *iov, int count, size_t skip, bool from_guest);
/** pcap_flush() - Write what waits. Return: is anything left? */
bool pcap_flush(struct pcap *p);

#endif
