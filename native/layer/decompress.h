/* A layer's blob, compressed as its media type says, becomes its archive. */
#ifndef BERTH_LAYER_DECOMPRESS_H
#define BERTH_LAYER_DECOMPRESS_H

#include "layer/bytes.h"

enum compression { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD };

/* Reads "none", "gzip" or "zstd"; EINVAL for another. */
must_check int compression_parse(const char *text, enum compression *out, struct rt_error *err);

/*
 * Takes all of `from` to `to`. EPROTO: not compressed as said, cut short, or bytes after its end. A zstd frame may want a window of 8 MiB at
 * most, what RFC 8878 asks decoders to support; EFBIG beyond.
 */
must_check int decompress(enum compression how, const struct byte_source *from, const struct byte_sink *to, struct rt_error *err);

#endif
