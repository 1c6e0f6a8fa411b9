#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fs.h"
#include "common/json.h"
#include "common/scope.h"
#include "runtime/lifecycle.h"
#include "runtime/log.h"
#include "runtime/user.h"

#define COLUMNS 6

/* One container as a row; texts live as long as `s`. */
struct row {
	char id[256], pid[16], status[16], owner[32];
	struct state s;
	enum status now;
};

struct table {
	struct row *rows;
	size_t count;
	char *passwd; /* the host's, or NULL */
};

/* By the host's own files alone; an owner without a name is a number. */
static void name_owner(const struct table *t, uid_t uid, char *out, size_t size)
{
	if (!t->passwd || !user_name(t->passwd, uid, out, size))
		snprintf(out, size, "#%u", uid);
}

static void fill(const struct table *t, struct row *r, const char *id, int dir, const struct stat *st)
{
	snprintf(r->id, sizeof r->id, "%s", id);
	r->now = state_status_whole(dir, &r->s);
	snprintf(r->pid, sizeof r->pid, "%d", r->now == STATUS_STOPPED ? 0 : r->s.pid);
	snprintf(r->status, sizeof r->status, "%s", status_name(r->now));
	name_owner(t, st->st_uid, r->owner, sizeof r->owner);
}

/* A record that goes away or cannot be read is left out, the latter with a warning: the others matter too. */
static int add(struct table *t, const char *root, const char *id, struct rt_error *err)
{
	struct rt_error why = { 0 };
	struct container_options o = { .root = root, .id = id };
	struct row row = { 0 };
	struct stat st;
	cleanup_fd int dir = container_open(&o, false, &row.s, &why);
	/* Without a record it is no container: not yet, no more, or never. */
	if (dir == -ENOENT || dir == -ENOTDIR || (dir >= 0 && !row.s.doc))
		return 0;
	if (dir < 0 || fstat(dir, &st) < 0) {
		log_warning("container %s: %s", id, why.text);
		state_free(&row.s);
		return 0;
	}
	fill(t, &row, id, dir, &st);
	struct row *grown = reallocarray(t->rows, t->count + 1, sizeof *grown);
	if (!grown) {
		state_free(&row.s);
		return rt_fail(err, ENOMEM, "list containers");
	}
	t->rows = grown;
	t->rows[t->count++] = row;
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->id, ((const struct row *)b)->id);
}

static int collect(struct table *t, const char *root, struct rt_error *err)
{
	cleanup_dir DIR *d = opendir(root);
	if (!d)
		return errno == ENOENT ? 0 : rt_fail_errno(err, "list %s", root);
	for (struct dirent *e; (e = readdir(d));) {
		struct rt_error ignored = { 0 };
		if (e->d_name[0] == '.' || state_check_id(e->d_name, &ignored) < 0)
			continue;
		int r = add(t, root, e->d_name, err);
		if (r < 0)
			return r;
	}
	if (t->count)
		qsort(t->rows, t->count, sizeof *t->rows, compare);
	return 0;
}

static int print_json(const struct table *t, struct rt_error *err)
{
	struct json_out o = { 0 };
	json_out_open(&o, '[');
	for (size_t i = 0; i < t->count; i++) {
		const struct row *r = &t->rows[i];
		json_out_open(&o, '{');
		json_out_key(&o, "ociVersion");
		json_out_str(&o, r->s.oci_version);
		json_out_key(&o, "id");
		json_out_str(&o, r->id);
		json_out_key(&o, "pid");
		json_out_int(&o, r->now == STATUS_STOPPED ? 0 : r->s.pid);
		json_out_key(&o, "status");
		json_out_str(&o, r->status);
		json_out_key(&o, "bundle");
		json_out_str(&o, r->s.bundle);
		json_out_key(&o, "rootfs");
		json_out_str(&o, r->s.rootfs);
		json_out_key(&o, "created");
		json_out_str(&o, r->s.created);
		if (r->s.annotations) {
			json_out_key(&o, "annotations");
			json_out_node(&o, r->s.annotations);
		}
		json_out_key(&o, "owner");
		json_out_str(&o, r->owner);
		json_out_close(&o, '}');
	}
	json_out_close(&o, ']');
	cleanup_free char *text = json_out_finish(&o);
	if (!text)
		return rt_fail(err, ENOMEM, "list containers");
	return printf("%s\n", text) < 0 ? rt_fail_errno(err, "write the list") : 0;
}

static void cells_of(const struct row *r, const char *cells[COLUMNS])
{
	const char *all[COLUMNS] = { r->id, r->pid, r->status, r->s.bundle ? r->s.bundle : "", r->s.created ? r->s.created : "", r->owner };
	memcpy(cells, all, sizeof all);
}

/* Columns as wide as their widest cell, three apart and at least twelve, like runc's. */
static void print_table(const struct table *t)
{
	static const char *const head[COLUMNS] = { "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER" };
	int width[COLUMNS];
	const char *cells[COLUMNS];
	for (int c = 0; c < COLUMNS; c++)
		width[c] = 12;
	for (size_t i = 0; i < t->count; i++) {
		cells_of(&t->rows[i], cells);
		for (int c = 0; c < COLUMNS; c++) {
			int n = (int)strlen(cells[c]) + 3;
			width[c] = n > width[c] ? n : width[c];
		}
	}
	for (size_t i = 0; i <= t->count; i++) {
		if (i == 0)
			memcpy(cells, head, sizeof head);
		else
			cells_of(&t->rows[i - 1], cells);
		for (int c = 0; c + 1 < COLUMNS; c++)
			printf("%-*s", width[c], cells[c]);
		printf("%s\n", cells[COLUMNS - 1]);
	}
}

int container_list(const struct container_options *o, struct rt_error *err)
{
	struct table t = { 0 };
	bool json = o->format && !strcmp(o->format, "json");
	if (o->format && !json && strcmp(o->format, "table"))
		return rt_fail(err, EINVAL, "--format is table or json, not \"%s\"", o->format);
	struct rt_error ignored = { 0 };
	if (fs_read_file(AT_FDCWD, "/etc/passwd", USER_FILE_MAX, &t.passwd, NULL, &ignored) < 0)
		t.passwd = NULL;
	int r = collect(&t, o->root, err);
	if (r == 0 && o->quiet) {
		for (size_t i = 0; i < t.count; i++)
			printf("%s\n", t.rows[i].id);
	} else if (r == 0 && json) {
		r = print_json(&t, err);
	} else if (r == 0) {
		print_table(&t);
	}
	for (size_t i = 0; i < t.count; i++)
		state_free(&t.rows[i].s);
	free(t.rows);
	free(t.passwd);
	return r == 0 && fflush(stdout) != 0 ? rt_fail_errno(err, "write the list") : r;
}
