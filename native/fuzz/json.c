/* The JSON reader and writer: what is read can be written, and reads as the same again. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/scope.h"
#include "fuzz/fuzz.h"

static char *write_again(const struct json_doc *doc)
{
	struct json_out o = { 0 };
	json_out_node(&o, json_root(doc));
	char *text = json_out_finish(&o);
	expect(text != NULL);
	return text;
}

static void visit(const struct json *n, int depth)
{
	size_t count = 0;
	int64_t i;
	uint64_t u;
	expect(depth <= JSON_MAX_DEPTH);
	json_each(it, n) {
		count++;
		if (n->type == JSON_OBJECT)
			expect(json_get(n, it->key) == (it->type == JSON_NULL ? NULL : it));
		visit(it, depth + 1);
	}
	if (n->type == JSON_OBJECT || n->type == JSON_ARRAY)
		expect(count == n->count);
	if (n->type == JSON_STRING)
		expect(strlen(n->string) == n->count);
	/* Not for "-0", which is an integer and not an unsigned one. */
	if (json_i64(n, &i) && i > 0)
		expect(json_u64(n, &u) && u == (uint64_t)i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rt_error err = { 0 };
	cleanup_json struct json_doc *doc = NULL, *again = NULL;
	if (json_parse((const char *)data, size, &doc, &err) < 0) {
		expect(err.code && err.text[0] && !doc);
		return 0;
	}
	visit(json_root(doc), 0);
	cleanup_free char *text = write_again(doc);
	expect(json_parse(text, strlen(text), &again, &err) == 0);
	cleanup_free char *twice = write_again(again);
	expect(!strcmp(text, twice));
	return 0;
}
