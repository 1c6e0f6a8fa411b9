#include "layer/decompress.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "layer/inflate.h"

#define ZSTD_WINDOW_LOG 23

int compression_parse(const char *text, enum compression *out, struct rt_error *err)
{
	static const char *const names[] = { "none", "gzip", "zstd" };
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(text, names[i]) == 0) {
			*out = (enum compression)i;
			return 0;
		}
	}
	return rt_fail(err, EINVAL, "--compression is none, gzip or zstd, not %.60s", text);
}

static int pass_on(const struct byte_source *from, const struct byte_sink *to, struct rt_error *err)
{
	unsigned char *chunk;
	int r = to->turn(to->self, 0, &chunk, err);
	while (r >= 0) {
		const unsigned char *piece;
		size_t len;
		r = from->pull(from->self, &piece, &len, err);
		if (r < 0 || len == 0)
			return r;
		while (len > 0 && r >= 0) {
			size_t part = len < SINK_CHUNK ? len : SINK_CHUNK;
			memcpy(chunk, piece, part);
			piece += part;
			len -= part;
			r = to->turn(to->self, part, &chunk, err);
		}
	}
	return r;
}

static int zstd_failed(size_t code, struct rt_error *err)
{
	if (ZSTD_getErrorCode(code) == ZSTD_error_frameParameter_windowTooLarge)
		return rt_fail(err, EFBIG, "a layer's zstd frame wants a window of more than %u bytes", 1u << ZSTD_WINDOW_LOG);
	return rt_fail(err, EPROTO, "a layer is not compressed as its media type says: %s", ZSTD_getErrorName(code));
}

static int zstd_frames(ZSTD_DCtx *context, const struct byte_source *from, const struct byte_sink *to, struct rt_error *err)
{
	ZSTD_outBuffer out = { .size = SINK_CHUNK };
	unsigned char *chunk;
	size_t left = 1;
	int r = to->turn(to->self, 0, &chunk, err);
	out.dst = chunk;
	while (r >= 0) {
		const unsigned char *piece;
		size_t len;
		r = from->pull(from->self, &piece, &len, err);
		if (r < 0 || len == 0)
			break;
		ZSTD_inBuffer in = { .src = piece, .size = len };
		/* A full chunk may have left more in the context than what was read. */
		for (bool full = false; r >= 0 && (in.pos < in.size || full);) {
			left = ZSTD_decompressStream(context, &out, &in);
			if (ZSTD_isError(left))
				return zstd_failed(left, err);
			full = out.pos == out.size;
			if (full) {
				r = to->turn(to->self, out.pos, &chunk, err);
				out.dst = chunk;
				out.pos = 0;
			}
			full = full && left > 0;
		}
	}
	if (r >= 0 && left > 0)
		return rt_fail(err, EPROTO, "a layer is not compressed as its media type says: it ends early");
	return r < 0 || out.pos == 0 ? r : to->turn(to->self, out.pos, &chunk, err);
}

int decompress(enum compression how, const struct byte_source *from, const struct byte_sink *to, struct rt_error *err)
{
	if (how == COMPRESSION_NONE)
		return pass_on(from, to, err);
	if (how == COMPRESSION_GZIP)
		return inflate_gzip(from, to, err);
	ZSTD_DCtx *context = ZSTD_createDCtx();
	if (!context)
		return rt_fail(err, ENOMEM, "decompress the layer");
	ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
	int r = zstd_frames(context, from, to, err);
	ZSTD_freeDCtx(context);
	return r;
}
