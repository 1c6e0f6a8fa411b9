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

/* Joins the given kinds, in the order in which privileges allow it: user first. */
must_check int ns_join(const int fds[NS_KINDS], unsigned kinds, struct rt_error *err);

/* Writes uid_map and gid_map of `pid`, which waits in a new user namespace. */
must_check int ns_write_id_maps(pid_t pid, const struct id_maps *uid, const struct id_maps *gid, struct rt_error *err);

/* Host id of an id inside; -1 when it is not mapped. Without maps ids are the same on both sides. */
int64_t ns_host_id(const struct id_maps *maps, uint32_t id);
/* Whether some id inside is host id `id`. */
bool ns_maps_host_id(const struct id_maps *maps, uint32_t id);

/* Brings `lo` up in the current network namespace. */
must_check int ns_loopback_up(struct rt_error *err);

#endif
