/* SPDX-License-Identifier: Apache-2.0 */
/* What config.json says of sandboxes: below the command line, above the image. */
#include <stdlib.h>
#include <string.h>

#include "cli/creation.h"
#include "cli/root_disk.h"

int machine_settings(const char *home, const struct settings **out, struct error *err)
{
	static struct settings settings;

	if (!settings.file) {
		if (settings_load(home, &settings, err) < 0)
			return -(int)err->code;
		if (settings.log_level)
			log_default(settings.log_level);
		engine_use_kernel(settings.kernel);
	}
	if (out)
		*out = &settings;
	return 0;
}

/** default_root() - What an image's sandbox writes to. */
static int default_root(const struct settings *s, struct root_disk *out, struct error *err)
{
	if (s->root_disk && strcmp(s->root_disk, "managed") != 0) {
		if (root_disk_parse(s->root_disk, out, err) == 0)
			return 0;
		err->code = ERR_INVALID;
		return err_wrap(err, "%s: sandbox_defaults.oci.root_disk", s->path);
	}
	if (s->upper_size_mib)
		*out = (struct root_disk){ .kind = ROOT_DISK_MANAGED, .size_mib = s->upper_size_mib };
	return 0;
}

/** default_hypervisor() - Neither the command line nor MSB_HYPERVISOR says one. */
static void default_hypervisor(const struct settings *s, struct run_spec *spec)
{
	const char *variable = getenv("MSB_HYPERVISOR");

	if (creation.hypervisor || (variable && *variable) || !s->hypervisor)
		return;
	if (strcmp(s->hypervisor, "kvm") == 0)
		spec->hypervisor = HYPERVISOR_CHOICE_KVM;
	else if (strcmp(s->hypervisor, "qemu") == 0)
		spec->hypervisor = HYPERVISOR_CHOICE_QEMU;
}

int creation_defaults(const char *home, struct run_spec *spec, struct error *err)
{
	const struct settings *s;
	uint64_t memory;

	if (machine_settings(home, &s, err) < 0)
		return -(int)err->code;
	if (!spec->memory_mib)
		spec->memory_mib = s->memory_mib;
	if (!spec->cpus)
		spec->cpus = (unsigned int)s->cpus;
	if (!spec->shell)
		spec->shell = s->shell;
	if (!spec->workdir)
		spec->workdir = s->workdir;
	default_hypervisor(s, spec);
	if (spec->root_disk.kind == ROOT_DISK_DEFAULT && !engine_image_is_path(spec->image) &&
	    default_root(s, &spec->root_disk, err) < 0)
		return -(int)err->code;
	memory = spec->memory_mib ? spec->memory_mib : RUN_MEMORY_MIB;
	if (spec->root_disk.kind == ROOT_DISK_TMPFS && spec->root_disk.size_mib > memory) {
		err_set(err, ERR_USAGE, 0, "--root-disk: a tmpfs of %llu MiB does not fit into %llu MiB of memory",
			(unsigned long long)spec->root_disk.size_mib, (unsigned long long)memory);
		return err_hint(err, "use a larger -m, or --root-disk SIZE for a disk");
	}
	return 0;
}
