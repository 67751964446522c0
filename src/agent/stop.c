/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of the machine: SIGTERM to every process, the grace for them to end, SIGKILL, disks whole and read-only,
 * GOODBYE, power off. All of it but the last runs in the event loop: children are reaped, output still flows to the
 * host, a second SHUTDOWN can shorten the grace, and no step waits longer than there is something to wait for.
 */
#include <errno.h>
#include <signal.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/clock.h"

#define KILL_GRACE_NS (500 * NSEC_PER_MSEC)	  /* a process in the kernel's hands may take long */
#define LAST_WORDS_GRACE_NS (500 * NSEC_PER_MSEC) /* a host that does not read */

static enum phase { RUNNING, ASKED, KILLED, LAST_WORDS } phase;
static struct loop *loop;
static int timer = -1;
static int64_t deadline;

/** power_off() - Nobody is left. */
static _Noreturn void power_off(void)
{
	sync();
	root_freeze();
	say_goodbye();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

/** wait_for() - The next phase, and how long it may take. */
static void wait_for(enum phase next, int64_t ns)
{
	phase = next;
	deadline = clock_monotonic_ns() + ns;
	if (timer >= 0)
		loop_timer_set(loop, timer, ns);
}

/** processes_left() - As PID 1 every process is our descendant: none is left when we have no child. Else: of ours. */
static bool processes_left(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

void stop_progress(void)
{
	if (phase == ASKED || phase == KILLED) {
		if (processes_left() || (phase == ASKED && handoff_done()))
			return; /* init, when there is one, ends the machine itself */
		wait_for(LAST_WORDS, LAST_WORDS_GRACE_NS);
	}
	if (phase == LAST_WORDS && !sessions_talk())
		power_off();
}

/** on_timer() - The phase took too long. */
static void on_timer(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	if (phase == ASKED) {
		wait_for(KILLED, KILL_GRACE_NS);
		kill(-1, SIGKILL);
	} else if (phase == KILLED) {
		wait_for(LAST_WORDS, LAST_WORDS_GRACE_NS);
	} else {
		power_off();
	}
	stop_progress();
}

/** ask_all() - Everybody is to end in order; what init started is told by init. */
static void ask_all(void)
{
	if (handoff_done()) {
		sessions_signal(SIGTERM);
		sessions_signal(SIGCONT);
		handoff_ask_off();
	} else {
		kill(-1, SIGTERM);
		kill(-1, SIGCONT);
	}
	sessions_hang_up();
}

void stop_begin(struct loop *l, int64_t grace_ns)
{
	if (phase > ASKED || (phase == ASKED && clock_monotonic_ns() + grace_ns >= deadline))
		return;
	loop = l;
	if (timer < 0)
		timer = loop_timer(l, on_timer, NULL, NULL);
	if (phase == RUNNING)
		ask_all();
	wait_for(ASKED, grace_ns);
	if (timer < 0) /* out of descriptors: by force, at once */
		on_timer(NULL, 0);
	stop_progress();
}

bool stop_active(void)
{
	return phase != RUNNING;
}
