/* Making and joining namespaces (namespaces(7), user_namespaces(7)). */
#ifndef BERTH_RUNTIME_NAMESPACES_H
#define BERTH_RUNTIME_NAMESPACES_H

#include <sys/types.h>

#include "runtime/config.h"

/* CLONE_NEW* flags of a set of 1 << ns_kind. */
unsigned long ns_flags(unsigned kinds);

/* Opens the namespaces that are joined by path into fds[] (-1: none), checking each one's kind. */
must_check int ns_open(const struct config *c, int fds[NS_KINDS], struct rt_error *err);
void ns_close(int fds[NS_KINDS]);

/*
 * Joins every namespace of fds[]. The rights over a namespace are those over its owner: first all that the caller's own rights
 * reach, then the user namespace, then those that belong to it.
 */
must_check int ns_join(const int fds[NS_KINDS], struct rt_error *err);

/*
 * Moves the calling process, which has one thread, into a new time namespace with the config's offsets. The process must be
 * traceable (PR_SET_DUMPABLE) and the host's /proc in sight.
 */
must_check int ns_make_time(const struct config *c, struct rt_error *err);

/* Writes uid_map and gid_map of `pid`, which waits in a new user namespace. */
must_check int ns_write_id_maps(pid_t pid, const struct id_maps *uid, const struct id_maps *gid, struct rt_error *err);

/* Host id of an id inside; -1 when it is not mapped. Without maps ids are the same on both sides. */
int64_t ns_host_id(const struct id_maps *maps, uint32_t id);
/* Whether some id inside is host id `id`. */
bool ns_maps_host_id(const struct id_maps *maps, uint32_t id);

/* Brings `lo` up in the current network namespace. */
must_check int ns_loopback_up(struct rt_error *err);

#endif
