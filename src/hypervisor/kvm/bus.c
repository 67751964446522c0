/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O ports. The serial port has no receiver and no interrupt: the transmitter is always empty, so that early kernel
 * messages flow by polling; the registers a driver probes read back what was written. Source: 16550 data sheet;
 * ACPI 6.4, 4.8.3.7 (sleep control and status).
 */
#include "hypervisor/kvm/bus.h"

#include <string.h>

#include "base/fd.h"
#include "hypervisor/kvm/layout.h"

#define SERIAL_PORTS 8
#define SERIAL_BYTES_MAX MIB(1) /* a guest cannot fill the disk */
#define LCR_DLAB 0x80
#define IIR_NONE 0x01
#define LSR_EMPTY 0x60
#define MCR_LOOP 0x10
#define MSR_READY 0xb0

void serial_init(struct serial *s, bool present, int fd)
{
	*s = (struct serial){ .present = present, .fd = fd, .left = SERIAL_BYTES_MAX };
	pthread_mutex_init(&s->lock, NULL);
}

/** write_line() - Pass on what was collected. Lock held. */
static void write_line(struct serial *s)
{
	if (s->len && fd_write_full(s->fd, s->line, s->len) < 0)
		s->left = 0; /* nobody listens any more */
	s->len = 0;
}

void serial_flush(struct serial *s)
{
	pthread_mutex_lock(&s->lock);
	write_line(s);
	pthread_mutex_unlock(&s->lock);
}

/** transmit() - One byte out. Lock held. */
static void transmit(struct serial *s, uint8_t byte)
{
	if (!s->left)
		return;
	s->left--;
	s->line[s->len++] = (char)byte;
	if (byte == '\n' || s->len == sizeof(s->line) || !s->left)
		write_line(s);
}

/** serial_write() - Register write. Lock held. */
static void serial_write(struct serial *s, unsigned int reg, uint8_t value)
{
	bool latch = s->lcr & LCR_DLAB;

	switch (reg) {
	case 0:
		if (latch)
			s->dll = value;
		else if (!(s->mcr & MCR_LOOP))
			transmit(s, value);
		break;
	case 1:
		if (latch)
			s->dlm = value;
		else
			s->ier = value & 0x0f;
		break;
	case 3:
		s->lcr = value;
		break;
	case 4:
		s->mcr = value & 0x1f;
		break;
	case 7:
		s->scr = value;
		break;
	default:
		break;
	}
}

/** serial_read() - Register read. Lock held. */
static uint8_t serial_read(const struct serial *s, unsigned int reg)
{
	bool latch = s->lcr & LCR_DLAB;

	switch (reg) {
	case 0:
		return latch ? s->dll : 0;
	case 1:
		return latch ? s->dlm : s->ier;
	case 2:
		return IIR_NONE;
	case 3:
		return s->lcr;
	case 4:
		return s->mcr;
	case 5:
		return LSR_EMPTY;
	case 6: /* looped back: RTS to CTS, DTR to DSR, OUT1 to RI, OUT2 to DCD */
		if (s->mcr & MCR_LOOP)
			return (uint8_t)((s->mcr & 2) << 3 | (s->mcr & 1) << 5 | (s->mcr & 4) << 4 | (s->mcr & 8) << 4);
		return MSR_READY;
	default:
		return s->scr;
	}
}

enum bus_event port_write(struct serial *s, uint16_t port, const uint8_t *data, unsigned int size)
{
	if (s->present && size == 1 && port >= PORT_SERIAL && port < PORT_SERIAL + SERIAL_PORTS) {
		pthread_mutex_lock(&s->lock);
		serial_write(s, port - PORT_SERIAL, data[0]);
		pthread_mutex_unlock(&s->lock);
		return BUS_NOTHING;
	}
	switch (port) {
	case PORT_SLEEP_CONTROL:
		if ((data[0] & SLEEP_ENABLE) && (data[0] >> 2 & 7) == SLEEP_TYPE_OFF)
			return BUS_POWER_OFF;
		break;
	case PORT_RESET:
		if (data[0] == RESET_VALUE)
			return BUS_RESET;
		break;
	case PORT_KEYBOARD:
		if (data[0] == 0xfe)
			return BUS_RESET;
		break;
	case PORT_PCI_RESET:
		if ((data[0] & 0x06) == 0x06)
			return BUS_RESET;
		break;
	default:
		break;
	}
	return BUS_NOTHING;
}

void port_read(struct serial *s, uint16_t port, uint8_t *data, unsigned int size)
{
	memset(data, 0xff, size);
	if (s->present && size == 1 && port >= PORT_SERIAL && port < PORT_SERIAL + SERIAL_PORTS) {
		pthread_mutex_lock(&s->lock);
		data[0] = serial_read(s, port - PORT_SERIAL);
		pthread_mutex_unlock(&s->lock);
		return;
	}
	/* A keyboard controller that is never busy, so that a kernel that pulses its reset line does not wait. */
	if (port == PORT_KEYBOARD || port == PORT_SLEEP_CONTROL || port == PORT_SLEEP_STATUS)
		memset(data, 0, size);
}
