/* SPDX-License-Identifier: Apache-2.0 */
// sources: src/engine/kernel_file.c src/hypervisor/kvm/boot.c src/hypervisor/kvm/cpu.c src/virtio/memory.c
// sources: src/base/error.c src/base/log.c src/base/fd.c src/base/buf.c
/* Fuzz the kernel loader: any file must end in success or a set error, within guest memory (AddressSanitizer). */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/kernel_file.h"
#include "hypervisor/kvm/boot.h"

#define MEMORY MIB(4)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	uint8_t *ram = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct guest_memory mem = { .count = 1 };
	struct error err = ERROR_INIT;
	struct boot_kernel kernel;
	int rc;

	if (fd < 0)
		fd = fd_memfd("kernel", 0, false);
	mem.regions[0] = (struct memory_region){ .gpa = 0, .size = MEMORY, .host = ram };
	if (ram == MAP_FAILED || fd < 0 || ftruncate(fd, 0) < 0 || fd_pwrite_full(fd, data, size, 0) < 0)
		abort();
	rc = kernel_file_check(fd, "fuzz", &err);
	if (rc != -(int)err.code)
		abort();
	err_clear(&err);
	rc = boot_load_kernel(&mem, fd, &kernel, &err);
	if (rc != -(int)err.code || (rc == 0 && (kernel.end > MEMORY || kernel.entry >= kernel.end)))
		abort();
	munmap(ram, MEMORY);
	return 0;
}
