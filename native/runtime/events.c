#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/lifecycle.h"
#include "runtime/stats.h"

#define DEFAULT_INTERVAL_MS 5000

struct watch {
	const struct container_options *options;
	struct cg_layout layout;
	const char *path;
	int init;        /* pidfd: the end */
	int oom;         /* eventfd (v1) or inotify (v2); -1: nothing to watch */
	bool v2;
	char dir[PATH_MAX]; /* of the memory controller */
	uint64_t kills;  /* by the kernel for this cgroup's memory, so far */
};

/* "500ms", "5s", "1m", "1h". */
static int parse_interval(const char *text, int *ms, struct rt_error *err)
{
	static const struct { const char *unit; long ms; } units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };
	char *end;
	long v = strtol(text, &end, 10);
	for (size_t i = 0; end != text && v > 0 && v <= 86400000 && i < sizeof units / sizeof *units; i++) {
		if (!strcmp(end, units[i].unit) && v <= INT_MAX / units[i].ms) {
			*ms = (int)(v * units[i].ms);
			return 0;
		}
	}
	return rt_fail(err, EINVAL, "--interval \"%s\" is not a time like 500ms, 5s or 1m", text);
}

static int print_event(const struct watch *w, const char *type, bool with_stats, struct rt_error *err)
{
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	json_out_key(&o, "type");
	json_out_str(&o, type);
	json_out_key(&o, "id");
	json_out_str(&o, w->options->id);
	if (with_stats) {
		json_out_key(&o, "data");
		stats_write(&o, &w->layout, w->path);
	}
	json_out_close(&o, '}');
	cleanup_free char *text = json_out_finish(&o);
	if (!text)
		return rt_fail(err, ENOMEM, "print an event");
	return printf("%s\n", text) < 0 || fflush(stdout) != 0 ? rt_fail_errno(err, "print an event") : 0;
}

/* The kernel's own count: its notices are hints, which also come when the cgroup goes. */
static uint64_t count_kills(const struct watch *w)
{
	struct cg_usage u;
	cg_read_usage(&w->layout, w->path, &u);
	return u.oom_kills == CG_UNKNOWN ? w->kills : u.oom_kills;
}

/* admin-guide/cgroup-v1/memory.rst, "OOM Control": the eventfd and memory.oom_control, written to cgroup.event_control. */
static int watch_v1(struct watch *w, struct rt_error *err)
{
	char line[32];
	cleanup_fd int dir = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int control = dir < 0 ? -1 : openat(dir, "memory.oom_control", O_RDONLY | O_CLOEXEC);
	if (control < 0)
		return rt_fail_errno(err, "watch %s", w->dir);
	w->oom = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->oom < 0)
		return rt_fail_errno(err, "watch %s", w->dir);
	snprintf(line, sizeof line, "%d %d", w->oom, control);
	int r = fs_write_at(dir, "cgroup.event_control", line);
	return r < 0 ? rt_fail(err, r, "watch %s", w->dir) : 0;
}

static int watch_v2(struct watch *w, struct rt_error *err)
{
	char file[PATH_MAX];
	if (snprintf(file, sizeof file, "%s/memory.events", w->dir) >= (int)sizeof file)
		return rt_fail(err, ENAMETOOLONG, "watch %s", w->dir);
	w->oom = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->oom < 0 || inotify_add_watch(w->oom, file, IN_MODIFY) < 0)
		return rt_fail_errno(err, "watch %s", file);
	return 0;
}

static int watch_memory(struct watch *w, struct rt_error *err)
{
	const struct cg_hierarchy *h = cg_of(&w->layout, CG_MEMORY);
	int r;
	if (!h)
		return 0;
	w->v2 = h->v2;
	if ((r = cg_dir(h, w->path, w->dir, sizeof w->dir, err)) < 0 || (r = w->v2 ? watch_v2(w, err) : watch_v1(w, err)) < 0)
		return r;
	w->kills = count_kills(w);
	return 0;
}

static int report_kills(struct watch *w, struct rt_error *err)
{
	char unread[4096];
	while (w->oom >= 0 && read(w->oom, unread, sizeof unread) > 0)
		;
	uint64_t now = count_kills(w);
	for (; w->kills < now; w->kills++) {
		int r = print_event(w, "oom", false, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int loop(struct watch *w, int interval_ms, struct rt_error *err)
{
	struct pollfd fds[] = { { .fd = w->init, .events = POLLIN }, { .fd = w->oom, .events = POLLIN } };
	for (long next = now_ms() + interval_ms;;) {
		long left = next - now_ms();
		if (poll(fds, 2, left > 0 ? (int)left : 0) < 0 && errno != EINTR)
			return rt_fail_errno(err, "wait for events");
		int r = report_kills(w, err);
		/* The end comes last: what was killed before it is told. */
		if (r < 0 || fds[0].revents)
			return r;
		if (now_ms() < next)
			continue;
		next += interval_ms;
		if ((r = print_event(w, "stats", true, err)) < 0)
			return r;
	}
}

int container_events(const struct container_options *o, struct rt_error *err)
{
	cleanup_state struct state s = { 0 };
	struct watch w = { .options = o, .oom = -1 };
	int interval = DEFAULT_INTERVAL_MS, r = o->interval ? parse_interval(o->interval, &interval, err) : 0;
	if (r < 0)
		return r;
	cleanup_fd int dir = container_open(o, false, &s, err);
	if (dir < 0)
		return dir;
	cleanup_fd int init = state_pidfd(&s);
	if (init < 0 || !s.cgroups_path)
		return rt_fail(err, EINVAL, "container not running: %s", o->id);
	/* Others may change the container while it is watched. */
	close(take_fd(&dir));
	w.init = init;
	w.path = s.cgroups_path;
	if ((r = cg_detect(&w.layout, err)) < 0)
		return r;
	if (o->stats)
		return print_event(&w, "stats", true, err);
	r = watch_memory(&w, err);
	if (r == 0)
		r = loop(&w, interval, err);
	scope_close(&w.oom);
	return r;
}
