/* "tmpcopyup": a tmpfs that begins with what stands where it is mounted. */
#ifndef BERTH_RUNTIME_COPY_UP_H
#define BERTH_RUNTIME_COPY_UP_H

#include "common/error.h"

/*
 * Copies what the directory `from` (O_PATH) holds into the directory `to`, with owners, modes, times, extended attributes and
 * holes; hard links become files of their own, sockets are left out. Follows no link and crosses no mount. What it takes is
 * charged to the container, whose process this is. ELOOP beyond COPY_UP_DEPTH.
 */
#define COPY_UP_DEPTH 128
must_check int copy_up(int from, int to, const char *destination, struct rt_error *err);

#endif
