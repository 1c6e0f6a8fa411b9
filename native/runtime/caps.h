/* Capability names, and giving a process exactly the five sets asked for (capabilities(7)). */
#ifndef BERTH_RUNTIME_CAPS_H
#define BERTH_RUNTIME_CAPS_H

#include "runtime/config.h"

/* Number of "CAP_CHOWN" etc.; -1 when unknown. */
int cap_from_name(const char *name);

/*
 * Warns of capabilities that are asked for and that nobody can give: the kernel does not know them, or the runtime lacks them
 * itself. The specification has such a container run without them ("Linux Process", capabilities).
 */
void caps_warn(const struct process_spec *p);

/* Name of a capability's number, without "CAP_"; NULL for one that has none here. */
const char *cap_name(int number);

/* Drops from the bounding set; needs CAP_SETPCAP, so it comes before the user changes. */
must_check int caps_apply_bounding(const struct process_spec *p, struct rt_error *err);

/*
 * Sets the other four sets; the process must have kept its permitted set across the change of user. With `keep_admin`
 * CAP_SYS_ADMIN stays permitted, asked for or not.
 */
must_check int caps_apply_sets(const struct process_spec *p, bool keep_admin, struct rt_error *err);

/* Makes CAP_SYS_ADMIN effective if it is permitted; then takes it away again as far as nobody asked for it. */
must_check int caps_raise_admin(struct rt_error *err);
must_check int caps_lower_admin(const struct process_spec *p, struct rt_error *err);

#endif
