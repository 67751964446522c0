/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz the kernel loader: any file must end in success or a set error, within guest memory (AddressSanitizer). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "hypervisor/kvm/boot.h"

#define MEMORY MIB(4)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static uint8_t *ram;
	struct guest_memory mem = { .count = 1 };
	struct error err = ERROR_INIT;
	struct boot_kernel kernel;
	int rc;

	if (fd < 0)
		fd = fd_memfd("kernel", 0, false);
	if (!ram)
		ram = malloc(MEMORY);
	mem.regions[0] = (struct memory_region){ .gpa = 0, .size = MEMORY, .host = ram };
	if (!ram || fd < 0 || ftruncate(fd, 0) < 0 || fd_pwrite_full(fd, data, size, 0) < 0)
		abort();
	rc = boot_load_kernel(&mem, fd, &kernel, &err);
	if (rc != -(int)err.code || (rc == 0 && (kernel.end > MEMORY || kernel.entry >= kernel.end)))
		abort();
	return 0;
}
