/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/memory.h"

void *memory_ptr(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
	if (len == 0)
		return NULL;
	for (size_t i = 0; i < mem->count; i++) {
		const struct memory_region *r = &mem->regions[i];

		if (gpa < r->gpa || gpa - r->gpa >= r->size)
			continue;
		return len <= r->size - (gpa - r->gpa) ? r->host + (gpa - r->gpa) : NULL;
	}
	return NULL;
}
