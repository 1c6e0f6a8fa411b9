/*
 * common json     reads lines of JSON; prints each again, compact, or "error: ..."
 * common io-v1     reads the text of blkio.throttle.io_service_bytes (io-v2: of io.stat); prints bytes read and written
 * common cgroup   reads the text of a mountinfo; prints where each controller is
 */
#include <stdio.h>
#include <string.h>

#include "common/cgroup.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/scope.h"

static void echo_line(const char *line, size_t len)
{
	struct rt_error err = { 0 };
	cleanup_json struct json_doc *doc = NULL;
	struct json_out out = { 0 };
	/* A buffer of exactly this size, so that the sanitizers see a read past the end. */
	cleanup_free char *copy = malloc(len ? len : 1);
	if (!copy)
		return;
	memcpy(copy, line, len);
	if (json_parse(copy, len, &doc, &err) < 0) {
		printf("error: %s\n", err.text);
		return;
	}
	json_out_node(&out, json_root(doc));
	cleanup_free char *text = json_out_finish(&out);
	printf("%s\n", text ? text : "error: no memory");
}

static void show_layout(const char *text)
{
	struct cg_layout l;
	cg_parse_mountinfo(text, &l);
	printf("{\"mode\":\"%s\"", l.count ? cg_mode(&l) : "none");
	for (int c = 0; c < CG_CONTROLLERS; c++) {
		const struct cg_hierarchy *h = cg_of(&l, (enum cg_controller)c);
		if (h)
			printf(",\"%s\":\"%s\"", cg_name((enum cg_controller)c), h->mount);
	}
	if (l.unified >= 0)
		printf(",\"unified\":\"%s\"", l.hierarchies[l.unified].mount);
	printf("}\n");
}

int main(int argc, char **argv)
{
	struct rt_error err = { 0 };
	cleanup_free char *text = NULL;
	size_t len;
	if (argc != 2 || fs_read_fd(0, "stdin", 64u << 20, &text, &len, &err) < 0)
		return 2;
	if (!strncmp(argv[1], "io-", 3)) {
		uint64_t r, w;
		cg_parse_io(text, !strcmp(argv[1], "io-v2"), &r, &w);
		printf("{\"read\":%llu,\"written\":%llu}\n", (unsigned long long)r, (unsigned long long)w);
		return 0;
	}
	if (!strcmp(argv[1], "cgroup")) {
		show_layout(text);
		return 0;
	}
	for (const char *p = text, *end = text + len; p < end;) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t n = nl ? (size_t)(nl - p) : (size_t)(end - p);
		echo_line(p, n);
		p += n + (nl != NULL);
	}
	return 0;
}
