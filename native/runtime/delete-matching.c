#include <dirent.h>
#include <errno.h>
#include <regex.h>
#include <string.h>

#include "common/scope.h"
#include "runtime/container.h"
#include "runtime/log.h"
#include "runtime/state.h"

#define EXPRESSION_MAX 256 /* longer than any id, and short enough for any matcher */

static int compile(regex_t *re, const char *expression, struct rt_error *err)
{
	char why[128];
	if (strlen(expression) > EXPRESSION_MAX)
		return rt_fail(err, ENAMETOOLONG, "delete --regex takes at most %d characters", EXPRESSION_MAX);
	int r = regcomp(re, expression, REG_EXTENDED | REG_NOSUB);
	if (r == 0)
		return 0;
	regerror(r, re, why, sizeof why);
	return rt_fail(err, EINVAL, "delete --regex %s: %s", expression, why);
}

/* The number of those that could not be deleted. */
static size_t delete_all(const struct container_options *o, DIR *root, const regex_t *re)
{
	size_t failed = 0;
	for (struct dirent *e; (e = readdir(root));) {
		struct rt_error why = { 0 };
		struct container_options one = *o;
		char message[RT_ERROR_TEXT + 128];
		if (e->d_name[0] == '.' || state_check_id(e->d_name, &why) < 0 || regexec(re, e->d_name, 0, NULL, 0) != 0)
			continue;
		one.id = e->d_name;
		/* Somebody else may delete it meanwhile, which is as well. */
		int r = container_delete(&one, &why);
		if (r == 0 || r == -ENOENT)
			continue;
		rt_error_message(&why, message, sizeof message);
		log_warning("%s", message);
		failed++;
	}
	return failed;
}

int container_delete_matching(const struct container_options *o, struct rt_error *err)
{
	regex_t re;
	int r = compile(&re, o->id, err);
	if (r < 0)
		return r;
	cleanup_dir DIR *root = opendir(o->root);
	size_t failed = root ? delete_all(o, root, &re) : 0;
	if (!root && errno != ENOENT)
		r = rt_fail_errno(err, "list %s", o->root);
	else if (failed)
		r = rt_fail(err, EINVAL, "%zu containers that match %s were not deleted", failed, o->id);
	regfree(&re);
	return r;
}
