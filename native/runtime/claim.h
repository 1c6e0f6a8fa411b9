/*
 * The claim of a parked container: a config.json that takes the place of the one it was parked with. What is there already cannot change,
 * so the two must agree in it; whatever they may differ in is done after the claim.
 *
 * On the sync socket a claim is a head, with the trees to mount as SCM_RIGHTS where init parked bare, and then the config's text.
 */
#ifndef BERTH_RUNTIME_CLAIM_H
#define BERTH_RUNTIME_CLAIM_H

#include "runtime/init.h"

/* Trees of one claim: the root and the bind mounts. */
#define CLAIM_TREES_MAX 128

/* ENOTSUP for a config of which no container can be parked: the field is named. */
must_check int claim_check_parkable(const struct config *c, struct rt_error *err);

/*
 * EINVAL, the field named, for a config that differs from the parked one where it may not. Free are: hostname, annotations, and of the process args, env and
 * user. Of a container parked bare, besides: root, mounts, the whole process, and linux.resources.
 */
must_check int claim_check(const struct config *parked, const struct config *claimed, enum init_park park, struct rt_error *err);

/* The runtime's side: hands over the config, and with `trees` what prepare_trees opened for it; NULL for one parked with its root. */
must_check int claim_send(int sync_fd, const struct config *c, const struct prepared *trees, struct rt_error *err);

/* Init's side: tells that it is parked and waits; then a->config is the claim's, and parked bare init has its mount namespace and a->prepared its trees. */
must_check int claim_await(struct init_args *a, struct rt_error *err);

#endif
