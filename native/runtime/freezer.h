/*
 * Stopping a cgroup's processes where they stand: the v1 freezer (admin-guide/cgroup-v1/freezer-subsystem), or cgroup.freeze
 * of v2, whichever holds the container's cgroup.
 */
#ifndef BERTH_RUNTIME_FREEZER_H
#define BERTH_RUNTIME_FREEZER_H

#include "common/cgroup.h"

/* Whether the cgroup is frozen, or about to be. A cgroup that is gone, or that nothing here can freeze, is not. */
bool freezer_is_frozen(const struct cg_layout *layout, const char *path);

/* Freezes or thaws, and waits until it has happened, at most FREEZER_WAIT_MS; then ETIMEDOUT, and a freeze is taken back. */
#define FREEZER_WAIT_MS 10000
must_check int freezer_set(const struct cg_layout *layout, const char *path, bool frozen, struct rt_error *err);

#endif
