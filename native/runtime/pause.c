#include <errno.h>

#include "common/scope.h"
#include "runtime/freezer.h"
#include "runtime/lifecycle.h"

static int set_frozen(const struct container_options *o, bool frozen, struct rt_error *err)
{
	cleanup_state struct state s = { 0 };
	struct cg_layout layout;
	cleanup_fd int dir = container_open(o, true, &s, err);
	if (dir < 0)
		return dir;
	enum status now = state_status_whole(dir, &s);
	if (frozen ? now != STATUS_RUNNING && now != STATUS_CREATED : now != STATUS_PAUSED)
		return rt_fail(err, EINVAL, "container %s is %s, not %s", o->id, status_name(now), frozen ? "running" : "paused");
	if (!s.cgroups_path)
		return rt_fail(err, ENOTSUP, "container %s is in no cgroup of its own, so it cannot be paused", o->id);
	int r = cg_detect(&layout, err);
	return r < 0 ? r : freezer_set(&layout, s.cgroups_path, frozen, err);
}

int container_pause(const struct container_options *o, struct rt_error *err)
{
	return set_frozen(o, true, err);
}

int container_resume(const struct container_options *o, struct rt_error *err)
{
	return set_frozen(o, false, err);
}
