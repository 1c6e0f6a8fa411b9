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

/* Sets the other four sets; the process must have kept its permitted set across the change of user. */
must_check int caps_apply_sets(const struct process_spec *p, struct rt_error *err);

#endif
