/*
 * Keeps the container from writing to this very program's file. Init is this program until the exec, so "/proc/self/exe" as
 * the container's program, or as its interpreter, would run it inside, where it could be opened and overwritten
 * (CVE-2019-5736).
 */
#ifndef BERTH_RUNTIME_SELF_H
#define BERTH_RUNTIME_SELF_H

#include "runtime/config.h"

/*
 * Returns when the file is out of the container's reach: on a read-only mount, or owned by an id that the container's user
 * namespace does not map. Else runs the program again, with the same arguments: from a detached read-only mount of itself, or,
 * for an ordinary user, from a sealed copy in memory.
 * Without a config (NULL), only the mount counts: whoever can tell early that there is no such user namespace saves reading it twice.
 */
must_check int self_protect(const struct config *c, char **argv, struct rt_error *err);

/*
 * Attaches that detached mount to the mount namespace of the calling process, which is about to let go of all it holds: taking the
 * two apart at once spares one wait for the whole machine (synchronize_rcu_expedited in namespace_unlock). Where it cannot be
 * done, it goes with its last descriptor.
 */
void self_hand_over(void);

#endif
