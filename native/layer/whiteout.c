#include "layer/whiteout.h"

#include <errno.h>
#include <string.h>

#include "layer/path.h"

#define PREFIX ".wh."
#define META ".wh..wh."
#define OPAQUE ".wh..wh..opq"

int whiteout_parse(const char *path, enum whiteout *out, const char **hidden, struct rt_error *err)
{
	const char *base = path + path_base(path);
	for (const char *p = path; p < base; p = strchr(p, '/') + 1) {
		if (strncmp(p, PREFIX, strlen(PREFIX)) == 0)
			return rt_fail(err, EPROTO, "entry beneath a whiteout: %.200s", path);
	}
	*out = WHITEOUT_NONE;
	if (strncmp(base, PREFIX, strlen(PREFIX)) != 0)
		return 0;
	*hidden = base + strlen(PREFIX);
	*out = strcmp(base, OPAQUE) == 0 ? WHITEOUT_OPAQUE : strncmp(base, META, strlen(META)) == 0 ? WHITEOUT_IGNORED : WHITEOUT_NAME;
	if (*out == WHITEOUT_NAME && (!**hidden || strcmp(*hidden, ".") == 0 || strcmp(*hidden, "..") == 0))
		return rt_fail(err, EPROTO, "whiteout of nothing: %.200s", path);
	return 0;
}
