/* What a container uses, in the shape of `runc events` that containerd's and Docker's readers expect; times in ns, sizes in bytes. */
#ifndef BERTH_RUNTIME_STATS_H
#define BERTH_RUNTIME_STATS_H

#include "common/cgroup.h"
#include "common/json.h"

/* Writes the object {"cpu","memory","pids","blkio","hugetlb","network_interfaces"}; what a kernel does not count is 0 or absent. */
void stats_write(struct json_out *o, const struct cg_layout *layout, const char *cgroups_path);

#endif
