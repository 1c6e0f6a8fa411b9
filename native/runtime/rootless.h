/*
 * Containers of an ordinary user.
 *
 * The runtime enters the container's user namespace first, with a mount namespace of its own, and from there on works as it
 * does for root: what it may mount, chown and signal is what that namespace has rights over. The id maps are written by
 * newuidmap(1) and newgidmap(1), which grant what /etc/subuid and /etc/subgid give the user, or, where the map is the user's
 * own id alone, by the runtime itself.
 */
#ifndef BERTH_RUNTIME_ROOTLESS_H
#define BERTH_RUNTIME_ROOTLESS_H

#include "common/cgroup.h"
#include "runtime/config.h"

/* Whether this process lacks the host's root: an ordinary user, or root of some user namespace. */
bool rootless_is(void);

/*
 * Whether the container must keep the user's own supplementary groups, because setgroups(2) is barred: in the map of an ordinary
 * user's own group alone, and in the user namespace of a process that made one so. Asked before rootless_enter.
 */
bool rootless_keeps_groups(const struct config *c);

/* Where an ordinary user's state is by default: $XDG_RUNTIME_DIR/berth, else /run/user/UID/berth. The text is static. */
const char *rootless_state_root(void);

/*
 * Moves this process, which has one thread, into the container's user namespace and a new mount namespace; afterwards ids in
 * the config's sense are ids here: c loses its maps and its wish for a user namespace, and c->ns.entered says so. ENOTSUP for
 * a container without a user namespace of its own. Descriptors of directories opened before are of the old mount namespace.
 */
must_check int rootless_enter(struct config *c, struct rt_error *err);

/*
 * Where on the v2 hierarchy this process may make cgroups: the nearest cgroup above its own, or its own, that is delegated to
 * it. Writes its path ("/user.slice/...", "" for the root) to out and returns true, or false when there is none.
 */
bool rootless_cgroup(const struct cg_layout *l, char *out, size_t size);

#endif
