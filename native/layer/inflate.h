/*
 * Decompression of gzip (RFC 1952) and the deflate format within (RFC 1951), several members in a row included.
 *
 * The input is hostile. EPROTO: malformed, cut short, or followed by what is no member. The trailer's length is compared, its CRC-32 is not: whoever
 * calls this compares a SHA-256 of the same bytes.
 */
#ifndef BERTH_LAYER_INFLATE_H
#define BERTH_LAYER_INFLATE_H

#include "layer/bytes.h"

/* Decompresses all of `from` into `to`. */
must_check int inflate_gzip(const struct byte_source *from, const struct byte_sink *to, struct rt_error *err);

#endif
