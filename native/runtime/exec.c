#include "runtime/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/user.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *search_path(const struct process_spec *p)
{
	for (size_t i = 0; i < p->env.count; i++) {
		if (!strncmp(p->env.at[i], "PATH=", 5))
			return p->env.at[i] + 5;
	}
	return DEFAULT_PATH;
}

/*
 * In the words that runc's users look for, docker's command line letter by letter, to tell a missing program (127) and one that may
 * not be run (126) from everything else. EINVAL: the C library has words of its own for the codes.
 */
static int refuse(int code, const char *name, struct rt_error *err)
{
	switch (code < 0 ? -code : code) {
	case ENOENT:
		return rt_fail(err, EINVAL, strchr(name, '/') ? "exec %s: no such file or directory" : "exec %s: executable file not found in $PATH", name);
	case EACCES:
		return rt_fail(err, EINVAL, "exec %s: permission denied", name);
	default:
		return rt_fail(err, code, "exec %s", name);
	}
}

static int check(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	/* By effective ids and capabilities, as exec judges. */
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

/* Programs and shells count on HOME, and engines leave it to the runtime, which alone sees the container's files. */
static int add_home(const struct process_spec *p, struct program *out, struct rt_error *err)
{
	out->env = p->env.at;
	size_t at = 0;
	while (at < p->env.count && strncmp(p->env.at[at], "HOME=", 5))
		at++;
	/* An empty one is none. */
	if (at < p->env.count && p->env.at[at][5])
		return 0;
	static char home[PATH_MAX + 5];
	snprintf(home, sizeof home, "HOME=/");
	user_home(AT_FDCWD, p->uid, home + 5, sizeof home - 5);
	out->env = calloc(p->env.count + 2, sizeof *out->env);
	if (!out->env)
		return rt_fail(err, ENOMEM, "set HOME");
	if (p->env.count)
		memcpy(out->env, p->env.at, p->env.count * sizeof *out->env);
	out->env[at] = home;
	return 0;
}

static int find_program(const struct process_spec *p, struct program *out, struct rt_error *err)
{
	const char *name = p->args.at[0];
	int found = -ENOENT;
	if (strchr(name, '/')) {
		if (snprintf(out->path, sizeof out->path, "%s", name) >= (int)sizeof out->path)
			found = -ENAMETOOLONG;
		else
			found = check(out->path);
		return found < 0 ? refuse(found, name, err) : 0;
	}
	for (const char *dir = search_path(p);; dir++) {
		size_t n = strcspn(dir, ":");
		int len = snprintf(out->path, sizeof out->path, "%.*s%s%s", (int)n, dir, n ? "/" : "./", name);
		if (len > 0 && len < (int)sizeof out->path) {
			int r = check(out->path);
			if (r == 0)
				return 0;
			if (r == -EACCES)
				found = r;
		}
		dir += n;
		if (!*dir)
			return refuse(found, name, err);
	}
}

int exec_find(const struct process_spec *p, struct program *out, struct rt_error *err)
{
	int r = find_program(p, out, err);
	return r < 0 ? r : add_home(p, out, err);
}

int exec_program(const struct process_spec *p, const struct program *program, struct rt_error *err)
{
	execve(program->path, (char *const *)p->args.at, (char *const *)program->env);
	return refuse(errno, program->path, err);
}
