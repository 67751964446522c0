/* SPDX-License-Identifier: Apache-2.0 */
/** From what the user asked for to what the supervisor needs: image, command, environment, disks, hypervisor. */
#ifndef MSB_ENGINE_RUN_PLAN_H
#define MSB_ENGINE_RUN_PLAN_H

#include "engine/engine.h"
#include "image/store.h"
#include "sandbox/sandbox.h"

struct run_plan {
	struct engine_paths paths;
	struct image *image; /* owned */
	struct sandbox_spec spec;
	struct msg_exec exec;
	int dir_fd, lock_fd; /* owned */
	struct disk_extent root[DISK_EXTENTS_MAX], upper;
	char parent_dir[1100];
	char name[64];
	char term[128];
};

/** run_plan_make() - Fill plan and the descriptive fields of out. On failure run_plan_release/free clean up. */
int run_plan_make(const struct run_spec *spec, struct run_plan *plan, struct run_session *out, struct error *err);
/** run_plan_release() - Close the descriptors (the supervisor has its own copies). Safe on a zeroed or failed plan. */
void run_plan_release(struct run_plan *plan);
/** run_plan_free() - Free what exec and spec point to. */
void run_plan_free(struct run_plan *plan);

/** choose_hypervisor() - Probe and decide. Sets machine.kind, kvm_fd, qemu_path and the fallback fields of out. */
int choose_hypervisor(enum hypervisor_choice choice, int home_fd, struct run_plan *plan, struct run_session *out,
		      struct error *err);

#endif
