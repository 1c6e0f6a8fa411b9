/* process.apparmorProfile: the profile that AppArmor confines the program by (apparmor(7)); labels of SELinux. */
#ifndef BERTH_RUNTIME_LSM_H
#define BERTH_RUNTIME_LSM_H

#include "runtime/config.h"

/*
 * linux.mountLabel. Where the kernel runs no SELinux it means nothing, and is passed over with a warning. Where it does,
 * ENOTSUP: no mount here is ever labelled.
 */
must_check int lsm_check_mount_label(const char *label, struct rt_error *err);

/* Takes the profile into p; "unconfined" needs no AppArmor. ENOTSUP for any other on a kernel without. */
must_check int lsm_set_apparmor(struct process_spec *p, const char *profile, struct rt_error *err);

/*
 * Has the calling process change to its profile at the next exec. By the container's own /proc, of which it is made sure that
 * it is one and that nothing is mounted over what is written to. ENOENT when the host has no such profile.
 */
must_check int lsm_apply(const struct process_spec *p, struct rt_error *err);

#endif
