/*
 * Trees that somebody else made, of any depth and with any names: measured and removed with three descriptors at most and no path longer
 * than one component. Links are never followed and mounts never entered.
 */
#ifndef BERTH_LAYER_WALK_H
#define BERTH_LAYER_WALK_H

#include <stdint.h>

#include "common/error.h"

struct walk_usage {
	uint64_t bytes;  /* of blocks on disk; a file with several names counts once */
	uint64_t inodes;
};

/* Measures dirfd/base, itself included. What vanishes meanwhile is not counted. */
must_check int walk_measure(int dirfd, const char *base, struct walk_usage *out, struct rt_error *err);

/* Removes the directory dirfd/base and all that is in it. EBUSY when something is mounted beneath. */
must_check int walk_remove(int dirfd, const char *base, struct rt_error *err);

#endif
