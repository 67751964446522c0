/* SPDX-License-Identifier: Apache-2.0 */
#include "config/settings.h"

#include "config/config_file.h"

/** text() - A member that is a string, or NULL. */
static const char *text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/** number() - A member that is a number, or 0. */
static uint64_t number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

int settings_load(const char *home, struct settings *out, struct error *err)
{
	json_t *root, *sandbox, *oci;

	*out = (struct settings){ 0 };
	root = config_file_load(home, CONFIG_SETTINGS, out->path, err);
	if (!root)
		return -(int)err->code;
	out->file = root;
	sandbox = json_object_get(root, "sandbox_defaults");
	oci = json_object_get(sandbox, "oci");
	out->cpus = number(sandbox, "cpus");
	out->memory_mib = number(sandbox, "memory_mib");
	out->shell = text(sandbox, "shell");
	out->workdir = text(sandbox, "workdir");
	out->root_disk = text(oci, "root_disk");
	out->upper_size_mib = number(oci, "upper_size_mib");
	out->hypervisor = text(root, "hypervisor");
	out->log_level = text(root, "log_level");
	out->kernel = text(json_object_get(root, "paths"), "libkrunfw");
	return 0;
}
