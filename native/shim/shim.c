#include "shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/json.h"
#include "common/scope.h"
#include "shim/clock.h"
#include "shim/container.h"
#include "shim/loop.h"
#include "shim/ociruntime.h"
#include "shim/owncgroup.h"
#include "shim/park.h"

#define KILLED_LIMIT (5 * CLOCK_SECOND)
#define DRAIN_ALONE (50 * CLOCK_MS)
#define DRAIN_LIMIT CLOCK_SECOND
#define ORPHANS_LIMIT (2 * CLOCK_SECOND)
#define DELETE_ATTEMPTS 3

static bool never(const struct shim *s)
{
	(void)s;
	return false;
}

static bool runtime_done(const struct shim *s)
{
	return s->runtime == 0;
}

static bool container_exited(const struct shim *s)
{
	return s->exited;
}

static bool output_ended(const struct shim *s)
{
	return s->output[LOG_STDOUT] < 0 && s->output[LOG_STDERR] < 0;
}

static bool childless(const struct shim *s)
{
	(void)s;
	siginfo_t si;
	return waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
}

static void wait_for(struct shim *s, uint64_t ns)
{
	loop_until(s, never, clock_add(clock_boot(), ns));
}

void shim_stop(struct shim *s, enum stop_cause cause, uint64_t grace_ms)
{
	if (s->exited)
		return;
	uint64_t grace = grace_ms > CLOCK_NEVER / CLOCK_MS ? CLOCK_NEVER : grace_ms * CLOCK_MS;
	uint64_t kill_at = clock_add(clock_boot(), grace);
	if (s->end.stopped_by == STOP_NONE) {
		s->end.stopped_by = cause;
		s->kill_at = kill_at;
		if (grace)
			kill(s->pid, s->opt->stop_signal);
	} else if (kill_at < s->kill_at) {
		s->kill_at = kill_at;
	}
}

int shim_start_runtime(struct shim *s, enum oci_verb verb, int out_fd, int err_fd, struct rt_error *err)
{
	pid_t pid = oci_spawn(s->opt, verb, out_fd, err_fd, s->runtime_claim_fd, err);
	/* The container must be the only one to hold its output open. */
	if (out_fd >= 0) {
		close(out_fd);
		close(err_fd);
	}
	if (pid < 0)
		return pid;
	s->runtime = pid;
	return 0;
}

int shim_end_runtime(struct shim *s, enum oci_verb verb, uint64_t limit, struct rt_error *err)
{
	const char *name = oci_verb_name(verb);
	if (!loop_until(s, runtime_done, clock_add(clock_boot(), limit))) {
		kill(s->runtime, SIGKILL);
		loop_until(s, runtime_done, clock_add(clock_boot(), KILLED_LIMIT));
		s->runtime = 0;
		return rt_fail(err, EPROTO, "the runtime's %s did not end within %llu s", name, SHIM_COMMAND_LIMIT / CLOCK_SECOND);
	}
	if (WIFSIGNALED(s->runtime_status))
		return rt_fail(err, EPROTO, "the runtime's %s was killed by signal %d", name, WTERMSIG(s->runtime_status));
	return WEXITSTATUS(s->runtime_status) == 0 ? 0 : -EPROTO;
}

/* Runs one command of the runtime to its end, serving everything else meanwhile. */
static int run_runtime(struct shim *s, enum oci_verb verb, int out_fd, int err_fd, struct rt_error *err)
{
	int r = shim_start_runtime(s, verb, out_fd, err_fd, err);
	return r < 0 ? r : shim_end_runtime(s, verb, SHIM_COMMAND_LIMIT, err);
}

static int map_lease(struct shim *s, struct rt_error *err)
{
	if (!s->opt->lease)
		return 0;
	cleanup_fd int fd = open(s->opt->lease, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return rt_fail_errno(err, "opening the lease %s", s->opt->lease);
	if (st.st_size < (off_t)sizeof *s->lease)
		return rt_fail(err, EINVAL, "the lease %s is too short", s->opt->lease);
	void *page = mmap(NULL, sizeof *s->lease, PROT_READ, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return rt_fail_errno(err, "mapping the lease %s", s->opt->lease);
	s->lease = page;
	return 0;
}

/* Makes everything a life needs, so that what can fail for want of something fails before the container exists. */
static int prepare(struct shim *s, struct rt_error *err)
{
	int r;
	if ((r = loop_open(s, err)) < 0 || (r = record_reserve(s->dirfd, err)) < 0 || (r = map_lease(s, err)) < 0)
		return r;
	if ((r = control_open(&s->control, s->dirfd, err)) < 0)
		return r;
	return record_shim(s->dirfd, err);
}

static int create(struct shim *s, struct rt_error *err)
{
	int out[2], error[2];
	if (pipe2(out, O_CLOEXEC) < 0)
		return rt_fail_errno(err, "making a pipe");
	s->output[LOG_STDOUT] = out[0];
	if (pipe2(error, O_CLOEXEC) < 0) {
		close(out[1]);
		return rt_fail_errno(err, "making a pipe");
	}
	s->output[LOG_STDERR] = error[0];
	/* Only the shim's ends: O_NONBLOCK on the container's would surprise its programs. */
	for (enum log_stream i = 0; i < LOG_STREAMS; i++)
		fcntl(s->output[i], F_SETFL, O_NONBLOCK);
	return s->opt->park ? park_make(s, out[1], error[1], err) : run_runtime(s, OCI_CREATE, out[1], error[1], err);
}

static int check_child(const struct shim *s, struct rt_error *err)
{
	siginfo_t si;
	if (!s->exited && waitid(P_PID, (id_t)s->pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
		return rt_fail(err, EPROTO, "the runtime's container is no child of the process that created it");
	return 0;
}

int shim_begin(struct shim *s, struct rt_error *err)
{
	if (s->lease && *s->lease && clock_boot() >= *s->lease)
		return rt_fail(err, EPROTO, "the node's lease ran out before the container started");
	/* From here on deadlines count and requests are served: the container may run before `start` has ended. */
	s->started = true;
	s->kill_at = CLOCK_NEVER;
	s->timeout_at = s->opt->timeout_ms ? clock_add(clock_boot(), s->opt->timeout_ms * CLOCK_MS) : CLOCK_NEVER;
	clock_stamp(s->end.started_at);
	return 0;
}

static int start(struct shim *s, struct rt_error *err)
{
	int r;
	if (s->opt->park)
		return (r = park_run(s, err)) < 0 ? r : check_child(s, err);
	if ((r = oci_read_pid(s->dirfd, &s->pid, err)) < 0 || (r = check_child(s, err)) < 0 || (r = shim_begin(s, err)) < 0)
		return r;
	return run_runtime(s, OCI_START, -1, -1, err);
}

/* What the last record of the log says, for runtimes that explain themselves on stderr. */
static void blame_output(struct shim *s, struct rt_error *err)
{
	struct rt_error ignored = { 0 };
	cleanup_free char *text = NULL;
	size_t len = 0;
	log_finish(&s->log);
	const char *message = "the runtime failed and gave no reason";
	if (fs_read_file(s->dirfd, "log", RECORD_MAX * 64, &text, &len, &ignored) == 0 && len > 1) {
		text[len - 1] = '\0';
		const char *newline = strrchr(text, '\n');
		const char *record = newline ? newline + 1 : text;
		if (strlen(record) > CLOCK_STAMP + 10)
			message = record + CLOCK_STAMP + 10;
	}
	oci_blame(s->dirfd, message, err);
}

static void report_line(int fd, char outcome, const char *json, size_t len)
{
	char line[REPORT_MAX];
	int n = snprintf(line, sizeof line, "%c%.*s\n", outcome, (int)(len < sizeof line - 3 ? len : sizeof line - 3), json);
	/* Nobody may be listening any more; the container lives on all the same. */
	if (write(fd, line, (size_t)n) < 0)
		n = 0;
	close(fd);
}

/* To whoever claimed it, else to the one that started the shim. */
static void report(struct shim *s, int fd, char outcome, const char *json)
{
	if (s->opt->park && fd < 0)
		control_tell_claim(&s->control, json);
	else
		report_line(fd, outcome, json, strlen(json));
}

static void report_failure(struct shim *s, int fd, const struct rt_error *err)
{
	char message[RT_ERROR_TEXT + 64];
	rt_error_message(err, message, sizeof message);
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	json_out_key(&o, "error");
	json_out_str(&o, message);
	json_out_close(&o, '}');
	cleanup_free char *text = json_out_finish(&o);
	report(s, fd, '1', text ? text : "{\"error\":\"out of memory\"}");
}

static void report_start(struct shim *s, int fd)
{
	char text[128];
	snprintf(text, sizeof text, "{\"pid\":%d,\"startedAt\":\"%s\"}", (int)s->pid, s->end.started_at);
	report(s, fd, '0', text);
}

/* Tells that the container waits, and waits with it for a claim. */
static int stay_parked(struct shim *s, int *report_fd, struct rt_error *err)
{
	char text[64];
	int n = snprintf(text, sizeof text, "{\"parked\":%d}", (int)s->pid);
	report_line(take_fd(report_fd), '0', text, (size_t)n);
	/* Now, while nobody waits: moving may wait for the kernel's grace periods. */
	owncgroup_enter(s->opt->cgroup);
	int r = park_await(s, err);
	if (r < 0)
		owncgroup_leave(s->opt->cgroup);
	return r;
}

/* Deletes the container and whatever the runtime or the container left as this process's children. */
static void delete(struct shim *s)
{
	for (int i = 0; i < DELETE_ATTEMPTS; i++) {
		struct rt_error logged = { 0 };
		if (run_runtime(s, OCI_DELETE, -1, -1, &logged) == 0)
			break;
		wait_for(s, CLOCK_SECOND);
	}
	uint64_t limit = clock_add(clock_boot(), ORPHANS_LIMIT);
	while (!childless(s) && clock_boot() < limit) {
		container_kill_children();
		loop_until(s, childless, clock_add(clock_boot(), 20 * CLOCK_MS));
	}
}

/* Undoes a start that failed, so that nothing of it is left when the caller learns. */
static int give_up(struct shim *s, bool created, int report_fd, struct rt_error *err)
{
	if (!err->code)
		blame_output(s, err);
	/* A runtime that refused has cleaned up after itself, and the name may be another container's: then it is not ours to delete. */
	if (created || WIFSIGNALED(s->runtime_status))
		delete(s);
	record_clean(s->dirfd, true);
	report_failure(s, report_fd, err);
	return 1;
}

static void drain(struct shim *s)
{
	if (loop_until(s, output_ended, clock_add(clock_boot(), DRAIN_ALONE)))
		return;
	container_kill_cgroup(s->opt->cgroup);
	loop_until(s, output_ended, clock_add(clock_boot(), DRAIN_LIMIT));
}

static void record_end(struct shim *s)
{
	struct cg_usage usage;
	container_usage(s->opt->cgroup, &usage, &s->end.spent);
	log_finish(&s->log);
	s->end.oom_kills = usage.oom_kills;
	s->end.peak_memory_bytes = usage.memory_peak_bytes;
	s->end.cpu_time_us = usage.cpu_time_us;
	s->end.log_bytes = s->log.bytes;
	s->end.log_dropped_bytes = s->log.dropped;
	char text[RECORD_MAX];
	size_t len = record_format(&s->end, text);
	/* Without the record the exit status would be lost, so wait for the disk as long as the directory is there. */
	for (int r; (r = record_commit(s->dirfd, text, len)) < 0 && r != -ENOENT;)
		wait_for(s, CLOCK_SECOND);
	memcpy(s->end_text, text, len + 1);
}

int shim_run(struct shim *s, const struct options *opt, int report_fd)
{
	struct rt_error err = { 0 };
	s->opt = opt;
	s->claim_fd = s->runtime_claim_fd = s->signal_fd = s->timer_fd = s->output[LOG_STDOUT] = s->output[LOG_STDERR] = -1;
	s->dirfd = open(opt->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dirfd < 0)
		rt_fail_errno(&err, "opening %s", opt->dir);
	/* The log claims the directory: whoever cannot create it must leave what is there alone. */
	if (s->dirfd < 0 || log_open(&s->log, s->dirfd, "log", opt->log_max_bytes, &err) < 0) {
		report_failure(s, report_fd, &err);
		return 1;
	}
	if (prepare(s, &err) < 0 || create(s, &err) < 0)
		return give_up(s, false, report_fd, &err);
	if (opt->park && stay_parked(s, &report_fd, &err) < 0)
		return give_up(s, false, report_fd, &err);
	if (start(s, &err) < 0) {
		int r = give_up(s, true, report_fd, &err);
		if (opt->park)
			owncgroup_leave(opt->cgroup);
		return r;
	}
	report_start(s, report_fd);
	/* Not before: moving may wait for the kernel's grace periods, and nobody should wait with it. One that was parked has moved. */
	if (!opt->park)
		owncgroup_enter(opt->cgroup);
	loop_until(s, container_exited, CLOCK_NEVER);
	drain(s);
	record_end(s);
	control_tell(&s->control, s->end_text);
	delete(s);
	record_clean(s->dirfd, false);
	owncgroup_leave(opt->cgroup);
	return 0;
}
