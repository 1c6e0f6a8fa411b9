/* The records of extended headers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "layer/pax.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct rt_error err = { 0 };
	struct pax_overrides out = { 0 };
	bool global = take_byte(&b) & 1;
	/* As tar.c gives it: one byte more than the records, a NUL. */
	char *text = malloc(b.left + 1);
	expect(text != NULL);
	if (b.left)
		memcpy(text, b.at, b.left);
	text[b.left] = 0;
	if (pax_parse(text, b.left, global, &out, &err) < 0) {
		expect(err.code == EPROTO || err.code == EFBIG);
	} else {
		const char *end = text + b.left;
		expect(!out.path || (*out.path && out.path + strlen(out.path) <= end));
		expect(!out.link || (*out.link && out.link + strlen(out.link) <= end));
		expect(out.xattr_count <= LAYER_XATTRS_MAX);
		for (unsigned i = 0; i < out.xattr_count; i++) {
			const struct tar_xattr *x = &out.xattrs[i];
			expect(x->value + x->len <= end && strlen(x->name) <= LAYER_NAME_MAX);
			for (unsigned k = 0; k < i; k++)
				expect(strcmp(x->name, out.xattrs[k].name));
		}
		if (global)
			expect(!out.path && !out.link && !out.has_size && !out.has_uid && !out.has_gid && !out.xattr_count);
	}
	free(text);
	return 0;
}
