#include "shim/ociruntime.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/json.h"
#include "common/scope.h"

#define CONFIG_MAX (4u << 20)
#define LOG_MAX (1u << 20)
#define CANNOT_EXEC 127

const char *oci_verb_name(enum oci_verb verb)
{
	static const char *const names[] = { "create", "start", "delete", "park" };
	return names[verb];
}

/* Host id of the container's id `id` by a list of OCI id mappings; without a list both are the same. */
static uint64_t map_id(const struct json *mappings, uint64_t id)
{
	json_each(m, mappings) {
		uint64_t inside, outside, size;
		if (json_u64(json_get(m, "containerID"), &inside) && json_u64(json_get(m, "hostID"), &outside) && json_u64(json_get(m, "size"), &size) && id >= inside && id - inside < size)
			return outside + (id - inside);
	}
	return id;
}

/* A convenience for the container, so failing is no error; a config that cannot be read is the runtime's to report. */
static void give_stdio(const char *bundle, int out_fd, int err_fd)
{
	char path[PATH_MAX];
	struct rt_error ignored = { 0 };
	cleanup_free char *text = NULL;
	cleanup_json struct json_doc *doc = NULL;
	size_t len;
	if (snprintf(path, sizeof path, "%s/config.json", bundle) >= (int)sizeof path)
		return;
	if (fs_read_file(AT_FDCWD, path, CONFIG_MAX, &text, &len, &ignored) < 0 || json_parse(text, len, &doc, &ignored) < 0)
		return;
	const struct json *config = json_root(doc);
	uint64_t uid = 0, gid = 0;
	json_u64(json_path(config, "process.user.uid"), &uid);
	json_u64(json_path(config, "process.user.gid"), &gid);
	uid = map_id(json_path(config, "linux.uidMappings"), uid);
	gid = map_id(json_path(config, "linux.gidMappings"), gid);
	if (fchown(out_fd, (uid_t)uid, (gid_t)gid) < 0 || fchown(err_fd, (uid_t)uid, (gid_t)gid) < 0)
		return;
}

/*
 * gVisor gives its standard streams to the user that it runs as, and other runtimes to the container's: what they get must not be the machine's
 * /dev/null. A pipe that nobody writes to has as little to read.
 */
static void take_null_away(const char *runtime)
{
	const char *slash = strrchr(runtime, '/');
	int fds[2];
	if (strcmp(slash ? slash + 1 : runtime, "berth-runtime") == 0)
		return;
	if (pipe2(fds, O_CLOEXEC) < 0 || dup2(fds[0], 0) < 0)
		_exit(CANNOT_EXEC);
}

/* In the child: what a program expects to start with, whatever the shim and its caller did to it. */
static void reset_process(void)
{
	umask(022);
	for (int n = 1; n < NSIG; n++)
		signal(n, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void child(const struct options *opt, enum oci_verb verb, int out_fd, int err_fd, int claim_fd)
{
	char log_path[PATH_MAX], pid_path[PATH_MAX], claim[16];
	snprintf(log_path, sizeof log_path, "%s/" OCI_LOG, opt->dir);
	snprintf(pid_path, sizeof pid_path, "%s/" OCI_PID, opt->dir);
	const char *argv[20 + RUNTIME_ARGS_MAX] = { opt->runtime, "--root", opt->runtime_root, "--log", log_path, "--log-format", "json" };
	size_t n = 7;
	for (int i = 0; i < opt->runtime_arg_count; i++)
		argv[n++] = opt->runtime_args[i];
	argv[n++] = oci_verb_name(verb);
	if (verb == OCI_PARK) {
		snprintf(claim, sizeof claim, "%d", claim_fd);
		argv[n++] = "--claim";
		argv[n++] = claim;
		if (strcmp(opt->park, "bare") == 0)
			argv[n++] = "--bare";
		if (fcntl(claim_fd, F_SETFD, 0) < 0)
			_exit(CANNOT_EXEC);
	}
	if (verb == OCI_CREATE || verb == OCI_PARK) {
		argv[n++] = "--bundle";
		argv[n++] = opt->bundle;
		argv[n++] = "--pid-file";
		argv[n++] = pid_path;
		give_stdio(opt->bundle, out_fd, err_fd);
		take_null_away(opt->runtime);
	} else if (verb == OCI_DELETE) {
		argv[n++] = "--force";
	}
	argv[n++] = opt->id;
	/* The rest of the shim's descriptors are O_CLOEXEC, and its own 0 to 2 are /dev/null. */
	if (out_fd >= 0 && (dup2(out_fd, 1) < 0 || dup2(err_fd, 2) < 0))
		_exit(CANNOT_EXEC);
	reset_process();
	execvp(opt->runtime, (char *const *)argv);
	dprintf(2, "cannot execute the runtime %s: %s\n", opt->runtime, strerror(errno));
	_exit(CANNOT_EXEC);
}

pid_t oci_spawn(const struct options *opt, enum oci_verb verb, int out_fd, int err_fd, int claim_fd, struct rt_error *err)
{
	pid_t pid = fork();
	if (pid < 0)
		return rt_fail_errno(err, "forking for the runtime");
	if (pid == 0)
		child(opt, verb, out_fd, err_fd, claim_fd);
	return pid;
}

int oci_read_pid(int dirfd, pid_t *out, struct rt_error *err)
{
	uint64_t value;
	int r = fs_read_u64(dirfd, OCI_PID, &value, err);
	if (r < 0)
		return r;
	if (value < 2 || value > INT_MAX)
		return rt_fail(err, EPROTO, "the runtime wrote no process id");
	*out = (pid_t)value;
	return 0;
}

void oci_blame(int dirfd, const char *fallback, struct rt_error *err)
{
	struct rt_error ignored = { 0 };
	cleanup_free char *text = NULL;
	size_t len;
	if (fs_read_file(dirfd, OCI_LOG, LOG_MAX, &text, &len, &ignored) == 0) {
		char *rest = text, *line;
		char found[RT_ERROR_TEXT] = "";
		while ((line = strsep(&rest, "\n"))) {
			struct rt_error unparsed = { 0 };
			cleanup_json struct json_doc *doc = NULL;
			if (!*line || json_parse(line, strlen(line), &doc, &unparsed) < 0)
				continue;
			const struct json *entry = json_root(doc);
			const char *level = json_str(json_get(entry, "level"), "");
			if (strcmp(level, "error") == 0 || strcmp(level, "fatal") == 0)
				snprintf(found, sizeof found, "%s", json_str(json_get(entry, "msg"), ""));
		}
		if (*found) {
			rt_fail(err, EPROTO, "%s", found);
			return;
		}
	}
	rt_fail(err, EPROTO, "%s", fallback);
}
