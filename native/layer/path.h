/* Names inside a layer. Lexical only: what a name leads to on disk is tree.h's business. */
#ifndef BERTH_LAYER_PATH_H
#define BERTH_LAYER_PATH_H

#include "common/error.h"
#include "layer/limits.h"

/*
 * Writes `raw` without leading slashes, "." parts and doubled slashes; the layer's root is "". EPROTO for ".." parts, which no honest
 * archive holds, and for a part that is too long; EFBIG for a path that is too long or too deep.
 */
must_check int path_normalize(const char *raw, char out[LAYER_PATH_MAX], struct rt_error *err);

/* Where the last component begins: 0 for a path of one component. */
unsigned path_base(const char *normal);

#endif
