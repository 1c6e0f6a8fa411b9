#include "layer/changes-list.h"

#include <stdio.h>

#include "layer/limits.h"

struct list {
	struct json_out *out;
	uint64_t left;
	bool truncated;
};

static int add(void *context, const struct change *change, struct rt_error *err)
{
	struct list *l = context;
	(void)err;
	if (l->left == 0) {
		l->truncated = true;
		return 1;
	}
	l->left--;
	const char kind[2] = { (char)change->kind, 0 };
	char path[LAYER_PATH_MAX + 1];
	snprintf(path, sizeof path, "/%s", change->path);
	json_out_open(l->out, '{');
	json_out_key(l->out, "kind");
	json_out_str(l->out, kind);
	json_out_key(l->out, "path");
	json_out_str(l->out, path);
	json_out_close(l->out, '}');
	return 0;
}

int changes_list(const struct changes_request *request, uint64_t max, struct json_out *out, struct rt_error *err)
{
	struct list l = { .out = out, .left = max };
	struct changes_request own = *request;
	own.each = add;
	own.context = &l;
	json_out_open(out, '{');
	json_out_key(out, "changes");
	json_out_open(out, '[');
	int r = changes_walk(&own, err);
	json_out_close(out, ']');
	json_out_key(out, "truncated");
	json_out_bool(out, l.truncated);
	json_out_close(out, '}');
	return r;
}
