/* SPDX-License-Identifier: Apache-2.0 */
	.section .rodata
	.global agent_initramfs_start
	.global agent_initramfs_end
	.balign 16
agent_initramfs_start:
	.incbin "initramfs.cpio"
agent_initramfs_end:
	.section .note.GNU-stack,"",@progbits
