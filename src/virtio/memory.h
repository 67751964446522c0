/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Guest memory as a few regions; where two hold an address (a hostile QEMU may say so) the first counts. The only place
 * where a guest address becomes a pointer: always with a length, overflow checked, within one region. Read-only after
 * the machine started (vhost-user: replaced as a whole on the device's own thread, while no ring runs).
 */
#ifndef MSB_VIRTIO_MEMORY_H
#define MSB_VIRTIO_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#define MEMORY_REGIONS_MAX 8

struct memory_region {
	uint64_t gpa;	/* guest physical address of the first byte */
	uint64_t size;	/* bytes */
	uint8_t *host;	/* where it is mapped in this process */
};

struct guest_memory {
	size_t count;
	struct memory_region regions[MEMORY_REGIONS_MAX];
};

/** memory_ptr() - Return: host address of [gpa, gpa + len), or NULL unless it lies within one region (len > 0). */
void *memory_ptr(const struct guest_memory *mem, uint64_t gpa, uint64_t len);

#endif
