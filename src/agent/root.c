/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's root: EROFS image below, a writable disk or tmpfs above, joined by overlayfs; or one disk alone. Then the
 * kernel's own file systems.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/agent.h"

#define MS(flags) ((unsigned long)(flags))

struct mount_entry {
	const char *source, *target, *type, *options;
	unsigned long flags;
	bool optional;
};

/* Applied inside the new root, in this order. Missing mount points are made (in the upper). */
static const struct mount_entry entries[] = {
	{ "proc", "proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false },
	{ "sysfs", "sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false },
	{ "devtmpfs", "dev", "devtmpfs", "mode=755", MS_NOSUID, false },
	{ "devpts", "dev/pts", "devpts", "ptmxmode=666,mode=620,gid=5,newinstance", MS_NOSUID | MS_NOEXEC, false },
	{ "shm", "dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, false },
	{ "mqueue", "dev/mqueue", "mqueue", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true },
	{ "run", "run", "tmpfs", "mode=755", MS_NOSUID | MS_NODEV, false },
	{ "cgroup", "sys/fs/cgroup", "cgroup2", "nsdelegate", MS_NOSUID | MS_NODEV | MS_NOEXEC, true },
	{ "msb", ".msb", "tmpfs", "mode=755,size=16m", MS_NOSUID | MS_NODEV, true }, /* the sandbox's scripts */
};

static bool on_disk;
static int upper_disk = -1; /* what is written to: /rw, which no path leads to after the change of root; or the root */

/** make_mount_point() - A folder that the image lacks; the time of its root folder stays what it was. */
static void make_mount_point(int root, const char *target)
{
	struct stat st;

	if (fstat(root, &st) < 0 || mkdirat(root, target, 0755) < 0)
		return;
	utimensat(root, ".", (const struct timespec[2]){ st.st_atim, st.st_mtim }, 0);
}

/** mount_in() - Mount something on root/target, made when missing; the image's symbolic links cannot lead out. */
static bool mount_in(int root, const struct mount_entry *e, struct failure *f)
{
	char at[64];
	int fd = place_enter(root, e->target, O_PATH | O_DIRECTORY);

	if (fd < 0 && errno == ENOENT) {
		make_mount_point(root, e->target);
		fd = place_enter(root, e->target, O_PATH | O_DIRECTORY);
	}
	if (fd < 0)
		return e->optional || fail(f, MSG_FAIL_MOUNT, errno, "mount point /%s", e->target);
	snprintf(at, sizeof(at), "/proc/self/fd/%d", fd);
	if (mount(e->source, at, e->type, e->flags, e->options) < 0 && !e->optional) {
		fail(f, MSG_FAIL_MOUNT, errno, "mount %s on /%s", e->type, e->target);
		close(fd);
		return false;
	}
	close(fd);
	return true;
}

/** provide_file() - A file of ours over root/etc/NAME by bind mount, so that nothing of it stays in the upper. */
static void provide_file(int root, const char *name, const char *text)
{
	char path[64], from[64], to[64];
	int fd, target;

	snprintf(path, sizeof(path), "/private/%s", name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		dprintf(2, "agent: %s: %s\n", path, strerror(errno));
	close(fd);
	snprintf(path, sizeof(path), "etc/%s", name);
	target = place_enter(root, path, O_PATH);
	if (target < 0 && errno == ENOENT) {
		int etc;

		mkdirat(root, "etc", 0755);
		etc = place_enter(root, "etc", O_PATH | O_DIRECTORY);
		if (etc >= 0) {
			target = openat(etc, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
			close(etc);
		}
	}
	if (target < 0)
		return; /* e.g. a dangling link of the image: leave it alone */
	snprintf(from, sizeof(from), "/private/%s", name);
	snprintf(to, sizeof(to), "/proc/self/fd/%d", target);
	if (mount(from, to, NULL, MS_BIND, NULL) < 0)
		dprintf(2, "agent: bind /etc/%s: %s\n", name, strerror(errno));
	close(target);
}

/** make_overlay() - /lower, /rw and the union of both at /root. */
static bool make_overlay(const struct msg_boot *boot, struct failure *f)
{
	const char *options =
		"lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work,redirect_dir=on,index=on,metacopy=on,xino=on";
	char size[64];

	mkdir("/lower", 0755);
	mkdir("/rw", 0755);
	if (mount("/dev/vda", "/lower", "erofs", MS_RDONLY, NULL) < 0)
		return fail(f, MSG_FAIL_MOUNT, errno, "mount the image (EROFS on /dev/vda)");
	if (boot->upper == MSG_UPPER_EXT4) {
		if (mount("/dev/vdb", "/rw", "ext4", MS_NOATIME, "discard") < 0)
			return fail(f, MSG_FAIL_DISK, errno, "mount the writable disk (/dev/vdb) as ext4");
	} else {
		if (boot->upper_bytes)
			snprintf(size, sizeof(size), "mode=755,size=%llu", (unsigned long long)boot->upper_bytes);
		else
			snprintf(size, sizeof(size), "mode=755,size=50%%");
		if (mount("upper", "/rw", "tmpfs", 0, size) < 0)
			return fail(f, MSG_FAIL_MOUNT, errno, "mount a tmpfs as the writable layer");
	}
	upper_disk = open("/rw", O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* The attributes of / are those of the upper's root; a fresh one takes the image's. */
	if (mkdir("/rw/upper", 0755) == 0 && !flat_copy_folder("/lower", "/rw/upper"))
		return fail(f, MSG_FAIL_MOUNT, errno, "attributes of the root folder");
	mkdir("/rw/work", 0755);
	if (mount("overlay", "/root", "overlay", 0, options) == 0)
		return true;
	if (errno == ESTALE)
		return fail(f, MSG_FAIL_DISK, 0, "the writable disk was used above another image before");
	return fail(f, MSG_FAIL_MOUNT, errno, "join image and writable layer (overlayfs)");
}

/** make_root() - The root file system at /root. */
static bool make_root(const struct msg_boot *boot, struct failure *f)
{
	bool ok = false;

	mkdir("/root", 0755);
	switch (boot->root) {
	case MSG_ROOT_OVERLAY:
		return make_overlay(boot, f);
	case MSG_ROOT_DISK:
		ok = disk_root_mount(f);
		break;
	case MSG_ROOT_FLAT:
		ok = flat_root_mount(f);
		break;
	default:
		return fail(f, MSG_FAIL_OTHER, 0, "bad boot configuration (root)");
	}
	upper_disk = open("/root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return ok;
}

/** allow_ping() - Every group may open ICMP echo sockets, so that ping needs no privilege. */
static void allow_ping(void)
{
	static const char all[] = "0 2147483647";
	int fd = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, all, sizeof(all) - 1) < 0)
		dprintf(2, "agent: ping_group_range: %s\n", strerror(errno));
	close(fd);
}

/** mount_tmp() - The implicit /tmp. */
static bool mount_tmp(int root, uint64_t bytes, struct failure *f)
{
	char options[64];
	struct mount_entry e = { "tmp", "tmp", "tmpfs", options, MS_NOSUID | MS_NODEV, true };

	snprintf(options, sizeof(options), "mode=1777,size=%llu", (unsigned long long)bytes);
	return bytes == 0 || mount_in(root, &e, f);
}

bool root_build(struct msg_boot *boot, struct failure *f)
{
	static const char *const links[][2] = {
		{ "/proc/self/fd", "/dev/fd" },
		{ "/proc/self/fd/0", "/dev/stdin" },
		{ "/proc/self/fd/1", "/dev/stdout" },
		{ "/proc/self/fd/2", "/dev/stderr" },
	};
	char hosts[512], hostname[80], resolv[128];
	int root;

	if (!make_root(boot, f))
		return false;
	root = open("/root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return fail(f, MSG_FAIL_MOUNT, errno, "open the new root");
	on_disk = boot->root != MSG_ROOT_OVERLAY || boot->upper == MSG_UPPER_EXT4;
	if (!places_remove(root, boot, f))
		return false;
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		if (!mount_in(root, &entries[i], f))
			return false;
	if (!mount_tmp(root, places_has_tmp(boot) ? 0 : boot->tmp_bytes, f) || !places_make(root, boot, f))
		return false;
	mkdir("/private", 0700);
	if (mount("private", "/private", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700,size=1m") < 0)
		return fail(f, MSG_FAIL_MOUNT, errno, "mount a tmpfs");
	snprintf(hostname, sizeof(hostname), "%s\n", boot->hostname);
	snprintf(hosts, sizeof(hosts),
		 "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t%s\n%.64s%s",
		 boot->hostname, boot->gateway4 ? boot->gateway4 : "",
		 boot->gateway4 ? "\thost.microsandbox.internal\n" : "");
	if (boot->gateway4)
		snprintf(resolv, sizeof(resolv), "nameserver %.64s\n", boot->gateway4);
	else
		snprintf(resolv, sizeof(resolv), "# no network in this sandbox\n");
	provide_file(root, "hostname", hostname);
	provide_file(root, "hosts", hosts);
	provide_file(root, "resolv.conf", resolv);
	if (sethostname(boot->hostname, strlen(boot->hostname)) < 0)
		return fail(f, MSG_FAIL_OTHER, errno, "set the host name \"%s\"", boot->hostname);
	if (fchdir(root) < 0 && chdir("/root") < 0)
		return fail(f, MSG_FAIL_MOUNT, errno, "enter the new root");
	close(root);
	if (chdir("/root") < 0 || mount(".", "/", NULL, MS(MS_MOVE), NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return fail(f, MSG_FAIL_MOUNT, errno, "make the image the root");
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
			return fail(f, MSG_FAIL_MOUNT, errno, "%s", links[i][1]);
	allow_ping();
	return network_up(boot, f);
}

bool root_on_disk(void)
{
	return on_disk;
}

void root_freeze(void)
{
	char at[64];

	snprintf(at, sizeof(at), "/proc/self/fd/%d", upper_disk);
	if (upper_disk >= 0 && mount(NULL, at, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		dprintf(2, "agent: writable disk: %s\n", strerror(errno));
}
