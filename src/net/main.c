/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-gateway: the network of one sandbox, in user space. It joins the frames of the guest's network card with ordinary
 * sockets of the host, as the sandbox's policy allows, and changes nothing on the host.
 *
 * It is started by the supervisor with /dev/null on 0 and 1, the log on 2 and a socket on GATEWAY_CONTROL_FD, by which
 * it gets all it needs (net/control.h). It opens nothing: before the first frame is read it has given up files,
 * programs, other processes and its user (if that was root), and can make no socket but those of TCP and UDP.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/macros.h"
#include "confine/confine.h"
#include "net/gateway.h"

#define ACTIVITY_NS NSEC_PER_SEC

struct program {
	struct loop *loop;
	struct gateway *gateway;
	struct gateway_config config;
	struct gateway_fds fds;
	int64_t last_activity;
};

/** say() - A message to the supervisor; when it does not read, what is not said is lost. */
static void say(const struct gateway_message *m)
{
	fd_send_msg(GATEWAY_CONTROL_FD, m, sizeof(*m), NULL, 0);
}

static void say_text(enum gateway_kind kind, const char *text)
{
	struct gateway_message m = { .kind = kind };

	snprintf(m.text, sizeof(m.text), "%s", text);
	say(&m);
}

/** activity() - Traffic on a published port. */
static void activity(void *arg)
{
	struct program *p = arg;

	if (p->last_activity && p->gateway->now - p->last_activity < ACTIVITY_NS)
		return;
	p->last_activity = p->gateway->now;
	say_text(GATEWAY_ACTIVITY, "");
}

/** take_config() - From a memfd, which stays mapped: the configuration's strings lie in it. */
static int take_config(struct program *p, int fd, struct error *err)
{
	struct stat st;
	void *map;

	if (p->config.mtu)
		return err_set(err, ERR_PROTOCOL, 0, "a second configuration");
	if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > GATEWAY_CONFIG_MAX)
		return err_set(err, ERR_PROTOCOL, 0, "the network's configuration is of no size");
	/* A copy: the file could be changed behind us. */
	map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED || fd_pread_full(fd, map, (size_t)st.st_size, 0) != st.st_size)
		return err_set(err, ERR_SYSTEM, errno, "read the network's configuration");
	return gateway_config_decode(map, (size_t)st.st_size, &p->config, err);
}

/** take() - A descriptor. @fd: taken */
static int take(struct program *p, const struct gateway_message *m, int *fd, struct error *err)
{
	int *at = NULL;

	switch ((enum gateway_what)m->what) {
	case GATEWAY_FRAMES:
		at = &p->fds.frames;
		break;
	case GATEWAY_ICMP4:
		at = &p->fds.icmp4;
		break;
	case GATEWAY_ICMP6:
		at = &p->fds.icmp6;
		break;
	case GATEWAY_NETLINK:
		at = &p->fds.netlink;
		break;
	case GATEWAY_PCAP:
		at = &p->fds.pcap;
		break;
	case GATEWAY_LISTEN:
		at = m->index < p->config.port_count ? &p->fds.listen[m->index] : NULL;
		break;
	case GATEWAY_WHAT_END:
		break;
	}
	if (!at || *at >= 0)
		return err_set(err, ERR_PROTOCOL, 0, "descriptor %u.%u was not asked for", m->what, m->index);
	fd_set_nonblock(*fd, true);
	*at = TAKE_FD(*fd);
	return 0;
}

/** prepare() - All that comes before GATEWAY_GO. */
static int prepare(struct program *p, struct error *err)
{
	for (;;) {
		int fds[FD_PASS_MAX];
		size_t count = 0;
		struct gateway_message m;
		ssize_t n = fd_recv_msg(GATEWAY_CONTROL_FD, &m, sizeof(m), fds, &count);
		_cleanup_fd_ int fd = count ? fds[0] : -1;
		int rc;

		for (size_t i = 1; i < count; i++)
			fd_close(&fds[i]);
		if (n == 0)
			return err_set(err, ERR_CLOSED, 0, "the supervisor is gone");
		if (n != (ssize_t)sizeof(m))
			return err_set(err, ERR_PROTOCOL, n < 0 ? errno : 0, "message of the supervisor");
		if (m.kind == GATEWAY_GO && p->config.mtu && p->fds.frames >= 0)
			return 0;
		if (fd >= 0 && m.kind == GATEWAY_CONFIG)
			rc = take_config(p, fd, err);
		else if (fd >= 0 && m.kind == GATEWAY_GIVE)
			rc = take(p, &m, &fd, err);
		else
			rc = err_set(err, ERR_PROTOCOL, 0, "message %u of the supervisor in the wrong place", m.kind);
		if (rc < 0)
			return rc;
	}
}

/** on_control() - While it serves. */
static void on_control(void *arg, uint32_t events)
{
	struct program *p = arg;
	struct gateway_message m, reply = { .kind = GATEWAY_COUNTED };
	ssize_t n = recv(GATEWAY_CONTROL_FD, &m, sizeof(m), MSG_DONTWAIT);

	(void)events;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		loop_stop(p->loop, 0);
	} else if (n == (ssize_t)sizeof(m) && m.kind == GATEWAY_COUNT) {
		gateway_count(p->gateway, &reply.counters);
		say(&reply);
	}
}

/** confine() - The last step before the guest is listened to. */
static int confine(struct error *err)
{
	if (confine_drop_privileges(err) < 0) {
		err_clear(err); /* it opens no file, and may not: so without capabilities even root is nobody */
		if (confine_drop_capabilities(err) < 0)
			return -(int)err->code;
	}
	if (confine_landlock_connect(err) < 0)
		return -(int)err->code;
	/* It ends with the socket as well; this is for a supervisor that is gone and whose socket somebody still holds.
	 */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	return confine_deny_dangerous(
		CONFINE_DENY_OPEN | CONFINE_DENY_FORK | CONFINE_ALLOW_CLIENT | CONFINE_ALLOW_ACCEPT, err);
}

/** limit() - As many descriptors as may be; no core dump. */
static void limit(void)
{
	struct rlimit none = { 0, 0 }, files;

	setrlimit(RLIMIT_CORE, &none);
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = MIN(files.rlim_max, (rlim_t)GATEWAY_SOURCES_MAX + 64);
	setrlimit(RLIMIT_NOFILE, &files);
}

/** serve() - Until the guest or the supervisor is gone. */
static int serve(struct program *p, struct error *err)
{
	int control, rc;

	if (prepare(p, err) < 0)
		return -(int)err->code;
	fd_set_nonblock(GATEWAY_CONTROL_FD, true); /* a supervisor that does not read must not hold up the guest */
	p->loop = loop_new_sized(GATEWAY_SOURCES_MAX, err);
	if (!p->loop)
		return -(int)err->code;
	p->gateway = gateway_new(p->loop, &p->config, &p->fds, err);
	if (!p->gateway)
		return -(int)err->code;
	p->gateway->activity = activity;
	p->gateway->activity_arg = p;
	control = loop_add(p->loop, GATEWAY_CONTROL_FD, EPOLLIN, on_control, p, err);
	if (control < 0 || confine(err) < 0)
		return -(int)err->code;
	say_text(GATEWAY_READY, "");
	rc = loop_run(p->loop, err);
	gateway_free(p->gateway); /* resets what is still open, ends the capture */
	return rc;
}

int main(void)
{
	struct program p = { .fds = { -1, -1, -1, -1, -1, { 0 } } };
	struct error err = ERROR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(p.fds.listen); i++)
		p.fds.listen[i] = -1;
	sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	limit();
	if (serve(&p, &err) >= 0)
		return 0;
	say_text(GATEWAY_FAILED, err.text);
	if (err.code != ERR_CLOSED)
		fprintf(stderr, "msb-gateway: %s\n", err.text);
	return 1;
}
