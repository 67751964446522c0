/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot a kernel and an initramfs on kvm_run() alone, without the rest of the product: the shortest way to see
 * whether a machine works. Usage: boot_kvm [-c CPUS] [-m MIB] [-d DISK]... [-e] [-s STOP_MS] VMLINUX INITRAMFS
 * -e: early console on standard output, else the virtio console. -s: stop the machine after so many milliseconds.
 * Prints how the machine ended and the time from the first instruction.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "base/num.h"
#include "hypervisor/hypervisor.h"

static int64_t started_ns;

/** on_running() - The first instruction is next. */
static void on_running(void *arg)
{
	(void)arg;
	started_ns = clock_monotonic_ns();
}

/** loop_thread() - Run a device loop. */
static void *loop_thread(void *arg)
{
	loop_run(arg, NULL);
	return NULL;
}

/** number() - An option's value. */
static uint64_t number(const char *text, uint64_t max)
{
	uint64_t value;

	if (!num_parse_u64(text, max, &value)) {
		fprintf(stderr, "boot_kvm: not a number up to %llu: %s\n", (unsigned long long)max, text);
		_exit(2);
	}
	return value;
}

/** new_loop() - A loop, or the end. */
static struct loop *new_loop(void)
{
	struct error err = ERROR_INIT;
	struct loop *loop = loop_new(&err);

	if (!loop) {
		fprintf(stderr, "boot_kvm: %s\n", err.text);
		_exit(2);
	}
	return loop;
}

/** run_loop() - Start the thread of a loop. */
static void run_loop(struct loop *loop)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, loop_thread, loop) == 0)
		pthread_detach(thread);
}

int main(int argc, char **argv)
{
	static const char *const ends[] = { "power off", "reset", "panic", "stopped" };
	struct monitor_config cfg = { .kind = HYPERVISOR_KVM, .cpus = 1, .memory_bytes = MIB(256), .console_fd = 1, .net_fd = -1 };
	struct virtio_device *devices[10];
	size_t count = 0;
	struct loop *loop = new_loop();
	struct error err = ERROR_INIT;
	struct vm_end end = { 0 };
	int stop_fd = eventfd(0, EFD_CLOEXEC);
	int opt;
	int rc;

	while ((opt = getopt(argc, argv, "c:m:d:es:v")) != -1) {
		if (opt == 'c') {
			cfg.cpus = (unsigned int)number(optarg, MONITOR_CPUS_MAX);
		} else if (opt == 'm') {
			cfg.memory_bytes = MIB(number(optarg, 1 << 20));
		} else if (opt == 'e') {
			cfg.early_console = true;
		} else if (opt == 'v') {
			log_setup(LOG_DEBUG, 2, NULL);
		} else if (opt == 's') {
			struct itimerspec at = { .it_value.tv_nsec = 1 };
			uint64_t ms = number(optarg, 1000000);

			at.it_value = (struct timespec){ .tv_sec = (time_t)(ms / 1000), .tv_nsec = ms % 1000 * 1000000 + 1 };
			stop_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
			timerfd_settime(stop_fd, 0, &at, NULL);
		} else if (opt == 'd' && count < 8) {
			struct disk *disk = disk_open_raw(open(optarg, O_RDWR | O_CLOEXEC), false, &err);
			struct loop *own = new_loop();

			if (!disk || !(devices[count++] = virtio_blk_new(own, "blk", disk, &err))) {
				fprintf(stderr, "boot_kvm: %s: %s\n", optarg, err.text);
				return 2;
			}
			run_loop(own);
		} else {
			return 2;
		}
	}
	if (argc - optind != 2)
		return 2;
	cfg.kernel_fd = open(argv[optind], O_RDONLY | O_CLOEXEC);
	cfg.initrd_fd = open(argv[optind + 1], O_RDONLY | O_CLOEXEC);
	cfg.kvm_fd = kvm_open(&err);
	if (cfg.kernel_fd < 0 || cfg.initrd_fd < 0 || cfg.kvm_fd < 0) {
		fprintf(stderr, "boot_kvm: %s %s\n", err.text, strerror(errno));
		return 2;
	}
	devices[count] = virtio_rng_new(loop, &err);
	if (devices[count])
		count++;
	devices[count] = virtio_console_new(loop, 1, MIB(4), &err);
	if (devices[count])
		count++;
	run_loop(loop);
	rc = kvm_run(&cfg, devices, count, on_running, NULL, stop_fd, &end, &err);
	if (rc < 0) {
		fprintf(stderr, "boot_kvm: failed: %s\n", err.text);
		return 1;
	}
	printf("boot_kvm: end: %s after %lld ms\n", ends[end.how], (long long)(clock_monotonic_ns() - started_ns) / 1000000);
	fflush(stdout);
	_exit(0);
}
