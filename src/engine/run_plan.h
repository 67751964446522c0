/* SPDX-License-Identifier: Apache-2.0 */
/** From what the user asked for to what the supervisor needs: image, command, environment, disks, hypervisor. */
#ifndef MSB_ENGINE_RUN_PLAN_H
#define MSB_ENGINE_RUN_PLAN_H

#include "engine/engine.h"
#include "image/store.h"
#include "sandbox/sandbox.h"
#include "state/state.h"

struct run_plan {
	struct engine_paths paths;
	struct image *image; /* owned; NULL: the root is a disk image */
	bool root_is_qcow2;  /* of a disk image */
	struct sandbox_spec spec;
	struct msg_exec exec;
	int dir_fd, lock_fd; /* owned */
	int home_fd;	     /* owned; of a persistent sandbox, else -1 */
	struct disk_extent root[DISK_EXTENTS_MAX], upper, cow;
	char parent_dir[1100];
	char directory[1300]; /* sandboxes/NAME */
	char name[SANDBOX_NAME_MAX + 1];
	char hostname[MSG_HOSTNAME_MAX + 1]; /* where that is too long for one */
	char term[128];
	char ip[4][IP_TEXT_MAX]; /* addresses that boot points to */
	char *parents[COPIES_MAX]; /* owned; of copies */
};

/** run_plan_find_image() - In the store, pulled before where the policy asks for it; by its digest when there is one.
 */
int run_plan_find_image(struct image_store *store, const struct engine_paths *paths, const struct run_spec *spec,
			struct image **out, struct error *err);
/** run_plan_make() - Fill plan and the descriptive fields of out. On failure run_plan_release/free clean up. */
int run_plan_make(const struct run_spec *spec, struct run_plan *plan, struct run_session *out, struct error *err);
/** run_plan_launch() - Fork the supervisor; out gets the sockets to it and, when ephemeral, to the session. */
int run_plan_launch(struct run_plan *plan, struct run_session *out, struct error *err);
/** run_plan_release() - Close the descriptors (the supervisor has its own copies). Safe on a zeroed or failed plan. */
void run_plan_release(struct run_plan *plan);
/** run_plan_free() - Free what exec and spec point to. */
void run_plan_free(struct run_plan *plan);

/** network_plan() - Addresses of the sandbox, and all that its gateway may use, opened. */
int network_plan(const struct run_spec *spec, struct run_plan *plan, struct error *err);
/** network_release() - Close it. */
void network_release(struct run_plan *plan);

/** files_prepare() - Write a new sandbox's scripts and copies into its directory, where the supervisor finds them. */
int files_prepare(int dir_fd, const struct run_spec *spec, struct error *err);

/** root_source_check() - Can this path be a root? Looks at its name and kind only. *qcow2: else raw. */
int root_source_check(const char *path, bool *qcow2, struct error *err);
/** root_source_meant() - No image by this name, but a file that looks like a disk image: it was meant, perhaps. */
bool root_source_meant(const char *typed);
/** root_source_plan() - Open the disks and tell the agent what they are. */
int root_source_plan(const struct run_spec *spec, struct image_store *store, struct run_plan *plan, struct error *err);

/** choose_hypervisor() - Probe and decide. Sets machine.kind, kvm_fd, qemu_path and the fallback fields of out. */
int choose_hypervisor(enum hypervisor_choice choice, int home_fd, struct run_plan *plan, struct run_session *out,
		      struct error *err);

#endif
