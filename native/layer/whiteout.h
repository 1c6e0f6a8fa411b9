/* Names by which a layer speaks of what lower layers hold (OCI image-spec, layer.md). */
#ifndef BERTH_LAYER_WHITEOUT_H
#define BERTH_LAYER_WHITEOUT_H

#include "common/error.h"

enum whiteout {
	WHITEOUT_NONE,   /* an ordinary name */
	WHITEOUT_NAME,   /* hides the lower layers' file of that name */
	WHITEOUT_OPAQUE, /* hides all that they have in the directory */
	WHITEOUT_IGNORED /* what aufs kept for itself: no meaning in an image */
};

/* Tells what a normal path (path.h) is; *hidden is the hidden name within it. EPROTO for a whiteout of nothing, and for an entry beneath a whiteout. */
must_check int whiteout_parse(const char *path, enum whiteout *out, const char **hidden, struct rt_error *err);

#endif
