/* SPDX-License-Identifier: Apache-2.0 */
/** The agent's initramfs, linked into the program (initramfs.S). */
#ifndef MSB_AGENT_INITRAMFS_H
#define MSB_AGENT_INITRAMFS_H

extern const unsigned char agent_initramfs_start[], agent_initramfs_end[];

#endif
