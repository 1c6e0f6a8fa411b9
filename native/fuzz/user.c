/* Users and groups by an image's own passwd and group files: nobody is found who is not in them, and nothing wraps to root. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/scope.h"
#include "fuzz/fuzz.h"
#include "runtime/user.h"

/* Whether a file has a line of this name whose id, a plain number, is `id`: by plain copies, one line after the other. */
static bool lists(const char *file, const char *name, uint32_t id)
{
	cleanup_free char *copy = strdup(file);
	char *rest = copy, *line;
	while ((line = strsep(&rest, "\n"))) {
		char *who = strsep(&line, ":");
		if (line)
			strsep(&line, ":");
		char *number = line ? strsep(&line, ":") : NULL;
		if (!number || strcmp(who, name) || !*number || number[strspn(number, "0123456789")] || strlen(number) > 10)
			continue;
		if (strtoull(number, NULL, 10) == id)
			return true;
	}
	return false;
}

static void check(const struct process_spec *p, const char *text, const char *passwd, const char *group)
{
	cleanup_free char *copy = strdup(text);
	char *whose = copy, *who = strsep(&whose, ":");
	expect(p->uid != UINT32_MAX && p->gid != UINT32_MAX && p->group_count <= USER_MAX_GROUPS);
	if (who[strspn(who, "0123456789")])
		expect(lists(passwd, who, p->uid));
	else
		expect(strtoull(who, NULL, 10) == p->uid);
	if (!whose)
		return;
	if (whose[strspn(whose, "0123456789")])
		expect(lists(group, whose, p->gid));
	else
		expect(strtoull(whose, NULL, 10) == p->gid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct rt_error err = { 0 };
	struct config c = { 0 };
	int dir = fuzz_directory();
	if (mkdirat(dir, "etc", 0755) < 0)
		expect(faccessat(dir, "etc", F_OK, 0) == 0);
	cleanup_free char *text = take_line(&b, 100);
	size_t n = (size_t)take_number(&b, 2);
	struct bytes first = { b.at, n < b.left ? n : b.left }, second = { b.at + first.left, b.left - first.left };
	fuzz_write(dir, "etc/passwd", first.at, first.left);
	fuzz_write(dir, "etc/group", second.at, second.left);
	/* As the reader sees them: up to the first NUL. */
	cleanup_free char *passwd = strndup((const char *)first.at, first.left), *group = strndup((const char *)second.at, second.left);
	expect(json_parse("{}", 2, &c.doc, &err) == 0);
	if (user_resolve(&c, text, dir, &err) == 0)
		check(&c.process, text, passwd, group);
	else
		expect(err.code && err.text[0]);
	config_free(&c);
	return 0;
}
