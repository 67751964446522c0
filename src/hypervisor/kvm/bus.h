/* SPDX-License-Identifier: Apache-2.0 */
/** What the guest reaches by I/O ports: early console, sleep and reset registers; everything else is empty. */
#ifndef MSB_HYPERVISOR_KVM_BUS_H
#define MSB_HYPERVISOR_KVM_BUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define SERIAL_LINE_MAX 256

/** The transmit half of a 16550. Any vCPU thread, under lock. */
struct serial {
	pthread_mutex_t lock;
	bool present;
	int fd;		/* borrowed */
	uint64_t left;	/* bytes that may still be written */
	uint8_t ier, lcr, mcr, scr, dll, dlm;
	size_t len;
	char line[SERIAL_LINE_MAX]; /* not yet written; whole lines save system calls */
};

enum bus_event { BUS_NOTHING, BUS_POWER_OFF, BUS_RESET };

/** serial_init() - @present: false leaves the ports empty. */
void serial_init(struct serial *s, bool present, int fd);
/** serial_flush() - Write the unfinished line. */
void serial_flush(struct serial *s);
/** port_write() - One OUT of 1, 2 or 4 bytes. Return: what the machine shall do. */
enum bus_event port_write(struct serial *s, uint16_t port, const uint8_t *data, unsigned int size);
/** port_read() - One IN; fills data. */
void port_read(struct serial *s, uint16_t port, uint8_t *data, unsigned int size);

#endif
