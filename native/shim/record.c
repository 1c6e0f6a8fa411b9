#include "shim/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cgroup.h"
#include "common/fs.h"
#include "common/scope.h"
#include "shim/ociruntime.h"

#define RESERVED ".exit.json"
#define SPENT_MAX 512 /* nine names and numbers of twenty digits */

/* Field 22 of /proc/self/stat. The second field may hold spaces and parentheses, so count from its end. */
static int own_start_time(unsigned long long *out, struct rt_error *err)
{
	cleanup_free char *text = NULL;
	int r = fs_read_file(AT_FDCWD, "/proc/self/stat", 4096, &text, NULL, err);
	if (r < 0)
		return r;
	const char *at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return rt_fail(err, EPROTO, "reading /proc/self/stat");
	*out = strtoull(at + 1, NULL, 10);
	return 0;
}

int record_shim(int dirfd, struct rt_error *err)
{
	unsigned long long start_time = 0;
	int r = own_start_time(&start_time, err);
	if (r < 0)
		return r;
	char text[96];
	int len = snprintf(text, sizeof text, "{\"pid\":%d,\"startTime\":%llu}\n", (int)getpid(), start_time);
	return fs_write_atomic(dirfd, "shim.json", text, (size_t)len, 0600, err);
}

int record_reserve(int dirfd, struct rt_error *err)
{
	cleanup_fd int fd = openat(dirfd, RESERVED, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return rt_fail_errno(err, "reserving the exit record");
	char blank[RECORD_MAX];
	memset(blank, ' ', sizeof blank);
	int r = fs_write_all(fd, blank, sizeof blank);
	return r < 0 ? rt_fail(err, r, "reserving the exit record") : 0;
}

static void put_number(char *out, size_t size, uint64_t value)
{
	if (value == CG_UNKNOWN)
		snprintf(out, size, "null");
	else
		snprintf(out, size, "%llu", (unsigned long long)value);
}

/* {"cpuUserUs":1,...} */
static void put_spent(char out[SPENT_MAX], const struct exit_record *r)
{
	const struct {
		const char *name;
		uint64_t value;
	} fields[] = {
		{ "cpuUserUs", r->spent.cpu_user_us },
		{ "cpuSystemUs", r->spent.cpu_system_us },
		{ "cpuPeriods", r->spent.cpu_periods },
		{ "cpuThrottledPeriods", r->spent.cpu_throttled_periods },
		{ "cpuThrottledUs", r->spent.cpu_throttled_us },
		{ "oomKills", r->oom_kills },
		{ "readBytes", r->spent.read_bytes },
		{ "writtenBytes", r->spent.written_bytes },
		{ "peakPids", r->spent.pids_peak },
	};
	size_t len = 0;
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		char number[24];
		put_number(number, sizeof number, fields[i].value);
		len += (size_t)snprintf(out + len, SPENT_MAX - len, "%c\"%s\":%s", i ? ',' : '{', fields[i].name, number);
	}
	snprintf(out + len, SPENT_MAX - len, "}");
}

size_t record_format(const struct exit_record *r, char out[RECORD_MAX])
{
	static const char *const causes[] = { "null", "\"request\"", "\"timeout\"", "\"lease\"" };
	bool signaled = WIFSIGNALED(r->status);
	bool oom_killed = r->oom_kills != CG_UNKNOWN && r->oom_kills > 0;
	char code[24], signal[24], peak[24], cpu[24], spent[SPENT_MAX];
	put_number(code, sizeof code, signaled ? CG_UNKNOWN : (uint64_t)WEXITSTATUS(r->status));
	put_number(signal, sizeof signal, signaled ? (uint64_t)WTERMSIG(r->status) : CG_UNKNOWN);
	put_number(peak, sizeof peak, r->peak_memory_bytes);
	put_number(cpu, sizeof cpu, r->cpu_time_us);
	put_spent(spent, r);
	int n = snprintf(out, RECORD_MAX,
			 "{\"exitCode\":%s,\"signal\":%s,\"oomKilled\":%s,\"stoppedBy\":%s,\"startedAt\":\"%s\",\"finishedAt\":\"%s\","
			 "\"peakMemoryBytes\":%s,\"cpuTimeUs\":%s,\"logBytes\":%llu,\"logDroppedBytes\":%llu,\"usage\":%s}",
			 code, signal, oom_killed ? "true" : "false", causes[r->stopped_by], r->started_at, r->finished_at, peak, cpu, (unsigned long long)r->log_bytes,
			 (unsigned long long)r->log_dropped_bytes, spent);
	return (size_t)n;
}

int record_commit(int dirfd, const char *text, size_t len)
{
	cleanup_fd int fd = openat(dirfd, RESERVED, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = fs_write_all(fd, text, len);
	if (r < 0)
		return r;
	if (ftruncate(fd, (off_t)len) < 0 || fsync(fd) < 0 || renameat(dirfd, RESERVED, dirfd, "exit.json") < 0 || fsync(dirfd) < 0)
		return -errno;
	return 0;
}

static void remove_if_empty(int dirfd, const char *name)
{
	struct stat st;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size == 0)
		unlinkat(dirfd, name, 0);
}

void record_clean(int dirfd, bool all)
{
	unlinkat(dirfd, "shim.sock", 0);
	unlinkat(dirfd, OCI_PID, 0);
	if (!all) {
		remove_if_empty(dirfd, OCI_LOG);
		return;
	}
	static const char *const names[] = { "shim.json", "log", OCI_LOG, RESERVED };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unlinkat(dirfd, names[i], 0);
}
