#include "runtime/user.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fs.h"
#include "common/scope.h"

bool user_parse_id(const char *text, size_t len, uint32_t *out)
{
	uint64_t v = 0;
	if (len == 0 || len > 10)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(text[i] - '0');
	}
	/* The largest id means "none" to the kernel. */
	if (v >= UINT32_MAX)
		return false;
	*out = (uint32_t)v;
	return true;
}

static int read_file(int root, const char *path, char **out, struct rt_error *err)
{
	struct stat st;
	/* From a process's own root no link leads out. */
	uint64_t resolve = RESOLVE_NO_MAGICLINKS | (root == AT_FDCWD ? 0 : RESOLVE_IN_ROOT);
	/* O_NONBLOCK: a FIFO is opened, and then refused, without waiting for a writer. */
	cleanup_fd int fd = fs_openat2(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, resolve);
	if (fd < 0)
		return rt_fail(err, fd, "open the container's %s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return rt_fail(err, EINVAL, "the container's %s is no regular file", path);
	return fs_read_fd(fd, path, USER_FILE_MAX, out, NULL, err);
}

struct field {
	const char *at;
	size_t len;
};

/* Splits the line at *p on ':' into at most `max` fields, moves *p behind it, and returns their number. */
static int split(const char **p, struct field *fields, int max)
{
	const char *end = *p + strcspn(*p, "\n");
	int n = 0;
	for (const char *at = *p; n < max;) {
		size_t len = 0;
		while (at + len < end && at[len] != ':')
			len++;
		fields[n++] = (struct field){ at, len };
		if (at + len == end)
			break;
		at += len + 1;
	}
	*p = *end ? end + 1 : end;
	return n;
}

static bool is(const struct field *f, const char *name, size_t len)
{
	return f->len == len && !memcmp(f->at, name, len);
}

/* name:password:uid:gid:... */
static bool find_user(const char *passwd, const char *name, size_t len, uint32_t *uid, uint32_t *gid)
{
	for (const char *p = passwd; *p;) {
		struct field f[4];
		if (split(&p, f, 4) == 4 && is(&f[0], name, len) && user_parse_id(f[2].at, f[2].len, uid) && user_parse_id(f[3].at, f[3].len, gid))
			return true;
	}
	return false;
}

bool user_name(const char *passwd, uint32_t uid, char *out, size_t size)
{
	for (const char *p = passwd; *p;) {
		struct field f[3];
		uint32_t id;
		if (split(&p, f, 3) == 3 && user_parse_id(f[2].at, f[2].len, &id) && id == uid && f[0].len && f[0].len < size) {
			memcpy(out, f[0].at, f[0].len);
			out[f[0].len] = 0;
			return true;
		}
	}
	return false;
}

/* name:password:uid:gid:comment:home:... */
void user_home(int root, uint32_t uid, char *out, size_t size)
{
	struct rt_error ignored = { 0 };
	cleanup_free char *passwd = NULL;
	if (read_file(root, "/etc/passwd", &passwd, &ignored) < 0)
		return;
	for (const char *p = passwd; *p;) {
		struct field f[6];
		uint32_t id;
		if (split(&p, f, 6) < 6 || !user_parse_id(f[2].at, f[2].len, &id) || id != uid)
			continue;
		if (f[5].len && *f[5].at == '/' && f[5].len < size) {
			memcpy(out, f[5].at, f[5].len);
			out[f[5].len] = 0;
		}
		return;
	}
}

/* name:password:gid:member,member */
static bool find_group(const char *group, const char *name, size_t len, uint32_t *gid)
{
	for (const char *p = group; *p;) {
		struct field f[3];
		if (split(&p, f, 3) == 3 && is(&f[0], name, len) && user_parse_id(f[2].at, f[2].len, gid))
			return true;
	}
	return false;
}

static bool has_member(const struct field *list, const char *name, size_t len)
{
	for (size_t i = 0; i <= list->len;) {
		size_t n = 0;
		while (i + n < list->len && list->at[i + n] != ',')
			n++;
		if (n == len && !memcmp(list->at + i, name, len))
			return true;
		i += n + 1;
	}
	return false;
}

static int add_memberships(struct config *c, const char *group, const char *name, size_t len, struct rt_error *err)
{
	struct process_spec *p = &c->process;
	p->groups = config_alloc(c, USER_MAX_GROUPS, sizeof *p->groups);
	p->group_count = 0;
	if (!p->groups)
		return rt_fail(err, ENOMEM, "look up groups");
	for (const char *at = group; *at;) {
		struct field f[4];
		uint32_t gid;
		if (split(&at, f, 4) < 4 || !has_member(&f[3], name, len) || !user_parse_id(f[2].at, f[2].len, &gid))
			continue;
		if (p->group_count == USER_MAX_GROUPS)
			return rt_fail(err, E2BIG, "user %.*s is in more than %d groups", (int)len, name, USER_MAX_GROUPS);
		p->groups[p->group_count++] = gid;
	}
	return 0;
}

bool user_has_names(const char *text)
{
	return text[strspn(text, "0123456789:")] != 0;
}

static int resolve_name(struct config *c, const char *name, size_t len, int root, struct rt_error *err)
{
	cleanup_free char *passwd = NULL, *group = NULL;
	struct process_spec *p = &c->process;
	int r = read_file(root, "/etc/passwd", &passwd, err);
	if (r < 0)
		return r;
	if (!find_user(passwd, name, len, &p->uid, &p->gid))
		return rt_fail(err, EINVAL, "no user %.*s in the container's /etc/passwd", (int)len, name);
	struct rt_error none = { 0 };
	r = read_file(root, "/etc/group", &group, &none);
	/* An image without groups has a user without memberships. */
	if (r < 0 && r != -ENOENT) {
		*err = none;
		return r;
	}
	return add_memberships(c, group ? group : "", name, len, err);
}

int user_resolve(struct config *c, const char *text, int root, struct rt_error *err)
{
	size_t len = strcspn(text, ":");
	const char *group_name = text[len] ? text + len + 1 : NULL;
	struct process_spec *p = &c->process;
	int r = 0;
	if (len == 0 || (group_name && !*group_name))
		return rt_fail(err, EINVAL, "user \"%s\" is not USER or USER:GROUP", text);
	if (!user_parse_id(text, len, &p->uid))
		r = strspn(text, "0123456789") == len ? rt_fail(err, EINVAL, "user id %.*s is out of range", (int)len, text)
								     : resolve_name(c, text, len, root, err);
	if (r < 0 || !group_name || user_parse_id(group_name, strlen(group_name), &p->gid))
		return r;
	if (!group_name[strspn(group_name, "0123456789")])
		return rt_fail(err, EINVAL, "group id %s is out of range", group_name);
	cleanup_free char *group = NULL;
	if ((r = read_file(root, "/etc/group", &group, err)) < 0)
		return r;
	return find_group(group, group_name, strlen(group_name), &p->gid) ? 0 : rt_fail(err, EINVAL, "no group %s in the container's /etc/group", group_name);
}
