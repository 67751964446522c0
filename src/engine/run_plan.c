/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/run_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "engine/cgroup.h"
#include "engine/kernel_file.h"

#define MEMORY_MIB_MIN 64      /* below this the kernel does not reach the agent */
#define USER_BYTES_MAX 255     /* what the agent has room for */
#define WORKDIR_BYTES_MAX 4095 /* PATH_MAX without its NUL */
#define TMP_BYTES_MAX MIB(512)

static const void *agent_data;
static size_t agent_size;

void engine_use_agent(const void *initramfs, size_t size)
{
	agent_data = initramfs;
	agent_size = size;
}

/** env_set() - Put KEY=VALUE into list, replacing an earlier entry of the same key. */
static int env_set(struct msg_strings *list, const char *entry, struct error *err)
{
	size_t key = strcspn(entry, "=");

	for (uint32_t i = 0; i < list->count; i++) {
		if (strncmp(list->item[i], entry, key) == 0 && list->item[i][key] == '=') {
			list->item[i] = entry;
			return 0;
		}
	}
	if (list->count == MSG_STRINGS_MAX)
		return err_set(err, ERR_LIMIT, 0, "more than %d environment variables", MSG_STRINGS_MAX);
	list->item[list->count++] = entry;
	return 0;
}

/** argv_add() - Append words to the command. */
static int argv_add(struct msg_exec *exec, char *const *words, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		if (exec->argv.count == MSG_STRINGS_MAX)
			return err_set(err, ERR_LIMIT, 0, "the command has more than %d words", MSG_STRINGS_MAX);
		exec->argv.item[exec->argv.count++] = words[i];
	}
	return 0;
}

/** image_of() - The image, or one that says nothing. */
static const struct image *image_of(const struct run_plan *plan)
{
	static const struct image nothing = { .user = (char *)(uintptr_t) "", .workdir = (char *)(uintptr_t) "" };

	return plan->image ? plan->image : &nothing;
}

/** plan_command() - ENTRYPOINT + (command or CMD), else a shell, else nothing. contract 1.4 */
static int plan_command(const struct run_spec *spec, struct run_plan *plan, struct run_session *out, struct error *err)
{
	const struct image *img = image_of(plan);
	struct msg_exec *exec = &plan->exec;
	char *one[1];
	int rc = 0;

	if (!spec->entrypoint)
		rc = argv_add(exec, img->entrypoint.item, img->entrypoint.count, err);
	else if (spec->entrypoint[0]) {
		one[0] = (char *)(uintptr_t)spec->entrypoint;
		rc = argv_add(exec, one, 1, err);
	}
	if (rc == 0 && spec->command_count)
		rc = argv_add(exec, spec->command, spec->command_count, err);
	else if (rc == 0)
		rc = argv_add(exec, img->cmd.item, img->cmd.count, err);
	if (rc < 0)
		return rc;
	if (exec->argv.count == 0 && spec->interactive) {
		one[0] = (char *)(uintptr_t)(spec->shell ? spec->shell : "/bin/sh");
		rc = argv_add(exec, one, 1, err);
	} else if (exec->argv.count == 0 && (!spec->place || spec->place->needs_command)) {
		out->nothing_to_run = true;
	}
	if (exec->argv.count && !exec->argv.item[0][0])
		return err_set(err, ERR_USAGE, 0, "the program name is empty");
	exec->tty = spec->tty;
	exec->stdin_open = spec->stdin_open;
	exec->rows = spec->rows;
	exec->cols = spec->cols;
	for (size_t i = 0; i < spec->rlimit_count && i < MSG_RLIMITS_MAX; i++)
		exec->rlimits[exec->rlimit_count++] = spec->rlimits[i];
	return rc;
}

/** strings_from() - The command line takes at most as many. */
static void strings_from(struct msg_strings *to, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count && i < MSG_STRINGS_MAX; i++)
		to->item[to->count++] = words[i];
}

/** add_parents() - The folders that copies go to are made, as are those of --mkdir. */
static int add_parents(const struct run_spec *spec, struct run_plan *plan, struct error *err)
{
	struct msg_strings *mkdirs = &plan->spec.boot.mkdirs;

	for (size_t i = 0; i < spec->copy_count && mkdirs->count < MSG_STRINGS_MAX; i++) {
		const char *target = spec->copies[i].target;
		size_t n = (size_t)(strrchr(target, '/') - target);

		if (n == 0)
			continue;
		plan->parents[i] = strndup(target, n);
		if (!plan->parents[i])
			return err_set(err, ERR_NO_MEMORY, 0, "out of memory");
		mkdirs->item[mkdirs->count++] = plan->parents[i];
	}
	return 0;
}

/** host_name() - The sandbox's name; a longer one than a kernel takes is cut, and stays different from others. */
static const char *host_name(struct run_plan *plan)
{
	uint32_t h = 0x811c9dc5u; /* FNV-1a */

	if (strlen(plan->name) <= MSG_HOSTNAME_MAX)
		return plan->name;
	for (const char *p = plan->name; *p; p++)
		h = (h ^ (unsigned char)*p) * 0x01000193u;
	snprintf(plan->hostname, sizeof(plan->hostname), "%.*s-%08x", MSG_HOSTNAME_MAX - 9, plan->name, h);
	return plan->hostname;
}

/** plan_boot() - What the agent is told. */
static int plan_boot(const struct run_spec *spec, struct run_plan *plan, struct error *err)
{
	const struct image *img = image_of(plan);
	struct msg_boot *boot = &plan->spec.boot;

	boot->hostname = spec->hostname ? spec->hostname : host_name(plan);
	boot->user = spec->user ? spec->user : img->user;
	boot->workdir = spec->workdir ? spec->workdir : img->workdir[0] ? img->workdir : NULL;
	if (boot->user && strlen(boot->user) > USER_BYTES_MAX) {
		err_set(err, ERR_LIMIT, 0, "user \"%.40s...\" is longer than %d bytes", boot->user, USER_BYTES_MAX);
		return err_hint(err, "choose another with -u");
	}
	if (boot->workdir && strlen(boot->workdir) > WORKDIR_BYTES_MAX) {
		err_set(err, ERR_LIMIT, 0, "working directory %.40s... is longer than %d bytes", boot->workdir,
			WORKDIR_BYTES_MAX);
		return err_hint(err, "choose another with -w");
	}
	for (size_t i = 0; i < spec->tmpfs_count; i++)
		boot->tmpfs[boot->tmpfs_count++] = spec->tmpfs[i];
	boot->restricted = spec->restricted;
	boot->init = spec->init;
	strings_from(&boot->init_args, spec->init_args, spec->init_arg_count);
	strings_from(&boot->init_env, spec->init_env, spec->init_env_count);
	/* What was done to its disk at the first start is not done again. */
	if (!spec->place || spec->place->first || spec->root_disk.kind == ROOT_DISK_TMPFS) {
		strings_from(&boot->mkdirs, spec->mkdirs, spec->mkdir_count);
		strings_from(&boot->removes, spec->removes, spec->remove_count);
		if (add_parents(spec, plan, err) < 0)
			return -(int)err->code;
	}
	/* A disk image has a /tmp of its own. */
	boot->tmp_bytes = !plan->image ? 0 : MIN(MAX(plan->spec.machine.memory_bytes / 4, MIB(1)), TMP_BYTES_MAX);
	for (uint32_t i = 0; i < img->env.count; i++)
		if (env_set(&boot->env, img->env.item[i], err) < 0)
			return -(int)err->code;
	for (size_t i = 0; i < spec->env_count; i++)
		if (env_set(&boot->env, spec->env[i], err) < 0)
			return -(int)err->code;
	if (spec->tty) {
		snprintf(plan->term, sizeof(plan->term), "TERM=%s",
			 spec->term && spec->term[0] && strcmp(spec->term, "dumb") != 0 ? spec->term : "xterm");
		return env_set(&plan->exec.env, plan->term, err);
	}
	return 0;
}

/** too_much() - More memory asked for than there is. */
static int too_much(uint64_t asked_mib, uint64_t bytes, const char *where, const char *hint, struct error *err)
{
	err_set(err, ERR_LIMIT, 0, "--memory: %llu MiB asked for, %s %llu MiB", (unsigned long long)asked_mib, where,
		(unsigned long long)(bytes >> 20));
	return err_hint(err, "%s", hint);
}

/** plan_machine() - CPUs and memory, checked against this host. */
static int plan_machine(const struct run_spec *spec, struct run_plan *plan, struct error *err)
{
	struct monitor_config *m = &plan->spec.machine;
	uint64_t mib = spec->memory_mib ? spec->memory_mib : RUN_MEMORY_MIB, bytes = mib << 20;
	uint64_t cgroup = cgroup_memory_limit("/proc/self/cgroup", "/proc/self/mountinfo");
	struct rlimit address_space;
	uint64_t host;
	struct sysinfo si;

	if (sysinfo(&si) < 0 || getrlimit(RLIMIT_AS, &address_space) < 0)
		return err_set(err, ERR_SYSTEM, errno, "sysinfo");
	host = (uint64_t)si.totalram * si.mem_unit;
	if (bytes > host)
		return too_much(mib, host, "this host has", "use a smaller --memory", err);
	if (bytes > cgroup)
		return too_much(mib, cgroup, "the cgroup that msb runs in may use",
				"use a smaller --memory, or raise memory.max of the cgroup", err);
	if (bytes > address_space.rlim_cur)
		return too_much(mib, address_space.rlim_cur, "the address space of a process is limited to",
				"ulimit -v unlimited", err);
	if (mib < MEMORY_MIB_MIN) {
		err_set(err, ERR_LIMIT, 0, "--memory: %llu MiB is too small to boot", (unsigned long long)mib);
		return err_hint(err, "use at least -m %dM", MEMORY_MIB_MIN);
	}
	m->cpus = spec->cpus ? spec->cpus : 1;
	m->memory_bytes = ALIGN_UP(mib, 2) << 20;
	return 0;
}

/** plan_files() - Kernel, agent, logs. */
static int plan_files(struct run_plan *plan, struct error *err)
{
	struct monitor_config *m = &plan->spec.machine;

	m->kernel_fd = kernel_file_open(&plan->paths, err);
	if (m->kernel_fd < 0)
		return m->kernel_fd;
	if (!agent_size)
		return err_set(err, ERR_INTERNAL, 0, "this program was linked without its guest agent");
	m->initrd_fd = fd_memfd("msb-agent", 0, false);
	if (m->initrd_fd < 0 || fd_write_full(m->initrd_fd, agent_data, agent_size) < 0)
		return err_set(err, ERR_SYSTEM, errno, "memfd for the agent");
	m->log_fd = openat(plan->dir_fd, "runtime.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (m->log_fd >= 0)
		m->console_fd = openat(plan->dir_fd, "kernel.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (m->log_fd < 0 || m->console_fd < 0)
		return err_set(err, err_from_errno(errno), errno, "create logs in %s", plan->parent_dir);
	return 0;
}

/** plan_directory() - The sandbox's own, or a new one with a generated name. */
static int plan_directory(const struct run_spec *spec, struct run_plan *plan, struct run_session *out,
			  struct error *err)
{
	uint32_t r;

	if (!spec->name && getrandom(&r, sizeof(r), 0) != sizeof(r))
		return err_set(err, ERR_SYSTEM, errno, "getrandom");
	if (spec->name)
		snprintf(plan->name, sizeof(plan->name), "%s", spec->name);
	else
		snprintf(plan->name, sizeof(plan->name), "msb-%08x", r);
	snprintf(plan->parent_dir, sizeof(plan->parent_dir), "%s/sandboxes", plan->paths.home);
	if (spec->place) {
		plan->dir_fd = fcntl(spec->place->dir_fd, F_DUPFD_CLOEXEC, 3);
		plan->lock_fd = fcntl(spec->place->lock_fd, F_DUPFD_CLOEXEC, 3);
		if (plan->dir_fd < 0 || plan->lock_fd < 0)
			return err_set(err, ERR_SYSTEM, errno, "open the sandbox's directory");
	} else if (sandbox_dir_create(plan->parent_dir, plan->name, &plan->dir_fd, &plan->lock_fd, err) < 0) {
		return -(int)err->code;
	}
	snprintf(out->name, sizeof(out->name), "%s", plan->name);
	snprintf(out->sandbox_dir, sizeof(out->sandbox_dir), "%s/%s", plan->parent_dir, plan->name);
	snprintf(plan->directory, sizeof(plan->directory), "%s", out->sandbox_dir);
	plan->spec.name = plan->name;
	plan->spec.parent_dir = plan->parent_dir;
	plan->spec.machine.runtime_dir = plan->directory;
	return 0;
}

/** plan_persistent() - What only such a sandbox has. */
static int plan_persistent(const struct run_spec *spec, struct run_plan *plan, int home, struct error *err)
{
	struct sandbox_spec *s = &plan->spec;

	plan->home_fd = fcntl(home, F_DUPFD_CLOEXEC, 3);
	if (plan->home_fd < 0)
		return err_set(err, ERR_SYSTEM, errno, "open MSB_HOME");
	s->persistent = s->orderly = true;
	s->on_use = spec->place->on_use;
	s->remove_at_end = spec->place->remove_at_end;
	s->workload = spec->place->workload ? &plan->exec : NULL;
	s->dir_fd = plan->dir_fd;
	s->home_fd = plan->home_fd;
	s->idle_ns = (int64_t)spec->idle_timeout_s * NSEC_PER_SEC;
	s->max_ns = (int64_t)spec->max_duration_s * NSEC_PER_SEC;
	return 0;
}

/* contract 2.3 */
int run_plan_find_image(struct image_store *store, const struct engine_paths *paths, const struct run_spec *spec,
			struct image **out, struct error *err)
{
	struct pull_spec pull = spec->pull_spec;
	int rc;

	if (spec->digest)
		return image_store_pinned(store, spec->digest, out, err);
	pull.reference = spec->image;
	if (spec->pull == PULL_ALWAYS && engine_pull(paths, &pull, err) < 0)
		return -(int)err->code;
	rc = image_store_find(store, spec->image, out, err);
	if (rc == 0 || err->code != ERR_NOT_FOUND || spec->pull == PULL_ALWAYS)
		return rc;
	if (root_source_meant(spec->image))
		return err_hint(err, "for the file of that name: ./%.100s", spec->image);
	if (spec->pull == PULL_NEVER)
		return err_wrap(err, "--pull never");
	err_clear(err);
	if (engine_pull(paths, &pull, err) < 0)
		return -(int)err->code;
	return image_store_find(store, spec->image, out, err);
}

int run_plan_make(const struct run_spec *spec, struct run_plan *plan, struct run_session *out, struct error *err)
{
	struct monitor_config *m = &plan->spec.machine;
	_cleanup_fd_ int home = -1;
	struct image_store *store;
	int rc;

	memset(plan, 0, sizeof(*plan));
	plan->dir_fd = plan->lock_fd = plan->home_fd = plan->upper.fd = plan->cow.fd = -1;
	plan->spec.dir_fd = plan->spec.home_fd = -1;
	m->kernel_fd = m->initrd_fd = m->console_fd = m->log_fd = m->kvm_fd = -1;
	m->supervisor_fd = m->control_fd = m->net_fd = -1;
	plan->spec.network.program_fd = plan->spec.network.config_fd = -1;
	snprintf(out->stage, sizeof(out->stage), "image");
	if (engine_paths(&plan->paths, ENGINE_WRITE, err) < 0)
		return -(int)err->code;
	home = open(plan->paths.home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (home < 0)
		return err_set(err, err_from_errno(errno), errno, "open %s", plan->paths.home);
	store = image_store_open(home, err);
	if (!store)
		return -(int)err->code;
	if (engine_image_is_path(spec->image))
		rc = root_source_check(spec->image, &plan->root_is_qcow2, err);
	else
		rc = run_plan_find_image(store, &plan->paths, spec, &plan->image, err);
	if (rc == 0)
		rc = plan_command(spec, plan, out, err);
	if (rc == 0 && !out->nothing_to_run) {
		snprintf(out->stage, sizeof(out->stage), "sandbox");
		rc = plan_machine(spec, plan, err);
		if (rc == 0)
			rc = choose_hypervisor(spec->hypervisor, home, plan, out, err);
		if (rc == 0)
			rc = plan_directory(spec, plan, out, err);
		if (rc == 0 && spec->place)
			rc = plan_persistent(spec, plan, home, err);
		if (rc == 0)
			rc = root_source_plan(spec, store, plan, err);
		if (rc == 0)
			rc = plan_files(plan, err);
		if (rc == 0)
			rc = plan_boot(spec, plan, err);
		if (rc == 0)
			rc = network_plan(spec, plan, err);
	}
	image_store_close(store);
	return rc;
}

void run_plan_release(struct run_plan *plan)
{
	struct monitor_config *m = &plan->spec.machine;

	for (size_t i = 0; i < m->disks[0].extent_count; i++)
		fd_close(&plan->root[i].fd);
	network_release(plan);
	fd_close(&plan->upper.fd);
	fd_close(&plan->cow.fd);
	fd_close(&m->kernel_fd);
	fd_close(&m->initrd_fd);
	fd_close(&m->log_fd);
	fd_close(&m->console_fd);
	fd_close(&m->kvm_fd);
	fd_close(&plan->dir_fd);
	fd_close(&plan->lock_fd);
	fd_close(&plan->home_fd);
}

void run_plan_free(struct run_plan *plan)
{
	if (plan->image)
		image_free(TAKE_PTR(plan->image));
	for (size_t i = 0; i < COPIES_MAX; i++)
		free(TAKE_PTR(plan->parents[i]));
}
