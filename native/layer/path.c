#include "layer/path.h"

#include <errno.h>
#include <string.h>

int path_normalize(const char *raw, char out[LAYER_PATH_MAX], struct rt_error *err)
{
	size_t len = 0;
	unsigned depth = 0;
	for (const char *p = raw; *p;) {
		size_t part = strcspn(p, "/");
		const char *next = p + part + (p[part] == '/');
		if (part == 2 && p[0] == '.' && p[1] == '.')
			return rt_fail(err, EPROTO, "path with \"..\": %.200s", raw);
		if (part > LAYER_NAME_MAX)
			return rt_fail(err, EPROTO, "name longer than %d bytes: %.200s", LAYER_NAME_MAX, raw);
		if (part > 0 && !(part == 1 && p[0] == '.')) {
			if (len + part + 2 > LAYER_PATH_MAX || ++depth > LAYER_DEPTH_MAX)
				return rt_fail(err, EFBIG, "path too long or too deep: %.200s", raw);
			if (len > 0)
				out[len++] = '/';
			memcpy(out + len, p, part);
			len += part;
		}
		p = next;
	}
	out[len] = 0;
	return 0;
}

unsigned path_base(const char *normal)
{
	const char *slash = strrchr(normal, '/');
	return slash ? (unsigned)(slash - normal) + 1 : 0;
}
