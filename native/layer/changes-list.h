/* The changes of a container as a list for people: one JSON object, {"changes":[{"kind":"A","path":"/a"}],"truncated":false}. */
#ifndef BERTH_LAYER_CHANGES_LIST_H
#define BERTH_LAYER_CHANGES_LIST_H

#include <stdint.h>

#include "common/json.h"
#include "layer/changes.h"

/*
 * Writes what `request` finds, at most `max` changes, into an empty `out`; paths begin with a slash, and bytes of theirs that are no UTF-8 are U+FFFD. The
 * request's own `each` and `context` are not used.
 */
must_check int changes_list(const struct changes_request *request, uint64_t max, struct json_out *out, struct rt_error *err);

#endif
