/*
 * berth-shim: starts a container through an OCI runtime and stays with it until its end (docs/contracts.md).
 *
 * This file is the process that the caller sees: it forks the shim proper, waits for the one line that tells how the start
 * went, prints it and exits. Nothing the shim does later depends on it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/json.h"
#include "common/scope.h"
#include "shim/shim.h"

static struct shim the_shim;

/* Leaves everything that ties this process to its caller. */
static int detach(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || setsid() < 0 || chdir("/") < 0)
		return -errno;
	for (int fd = 0; fd <= 2; fd++) {
		if (dup2(null, fd) < 0)
			return -errno;
	}
	close(null);
	umask(077);
	return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* Descriptors beyond 2 are the caller's mistakes; 0 to 2 must exist, or the next one opened would pass for one of them. */
static int tidy_descriptors(void)
{
	if (syscall(SYS_close_range, 3u, ~0u, 0u) < 0)
		return -errno;
	int fd;
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* Reads what the shim reports: up to the end of the line, since the shim itself lives on. Returns its length. */
static size_t read_report(int fd, char *out, size_t size)
{
	size_t fill = 0;
	while (fill < size) {
		ssize_t n = read(fd, out + fill, size - fill);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		fill += (size_t)n;
		if (out[fill - 1] == '\n')
			break;
	}
	return fill;
}

static int fail(const struct rt_error *err)
{
	char message[RT_ERROR_TEXT + 64];
	rt_error_message(err, message, sizeof message);
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	json_out_key(&o, "error");
	json_out_str(&o, message);
	json_out_close(&o, '}');
	cleanup_free char *text = json_out_finish(&o);
	printf("%s\n", text ? text : "{\"error\":\"out of memory\"}");
	return 1;
}

int main(int argc, char **argv)
{
	static struct options opt;
	struct rt_error err = { 0 };
	int report[2];
	/* What a service manager gave this node's agent is no container's. */
	unsetenv("NOTIFY_SOCKET");
	int r = tidy_descriptors();
	if (r < 0)
		rt_fail(&err, r, "setting up descriptors");
	if (r < 0 || options_parse(argc, argv, &opt, &err) < 0)
		return fail(&err);
	if (pipe2(report, O_CLOEXEC) < 0) {
		rt_fail_errno(&err, "making a pipe");
		return fail(&err);
	}
	pid_t pid = fork();
	if (pid < 0) {
		rt_fail_errno(&err, "forking");
		return fail(&err);
	}
	if (pid == 0) {
		close(report[0]);
		_exit(detach() < 0 ? 1 : shim_run(&the_shim, &opt, report[1]));
	}
	close(report[1]);
	char text[REPORT_MAX];
	size_t len = read_report(report[0], text, sizeof text);
	if (len < 2) {
		rt_fail(&err, EPROTO, "the shim ended before it could report");
		return fail(&err);
	}
	/* A caller that closed its end wants no answer. */
	r = fs_write_all(1, text + 1, len - 1);
	return text[0] == '0' ? 0 : 1;
}
