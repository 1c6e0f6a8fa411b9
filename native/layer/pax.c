#include "layer/pax.h"

#include <errno.h>
#include <string.h>

#define XATTR_PREFIX "SCHILY.xattr."

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool parse_decimal(const char *s, uint64_t *out)
{
	uint64_t n = 0;
	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || __builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
			return false;
	}
	*out = n;
	return true;
}

/* Seconds with an optional sign and fraction. */
static bool parse_time(const char *s, struct timespec *out)
{
	bool negative = *s == '-';
	int64_t seconds = 0;
	long nanos = 0, scale = 100000000;
	s += negative;
	if (*s < '0' || *s > '9')
		return false;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (seconds > (int64_t)1 << 50)
			return false;
		seconds = seconds * 10 + (*s - '0');
	}
	if (*s == '.') {
		for (s++; *s >= '0' && *s <= '9'; s++, scale /= 10)
			nanos += (*s - '0') * scale;
	}
	if (*s)
		return false;
	if (negative) {
		seconds = -seconds - (nanos > 0);
		nanos = nanos > 0 ? 1000000000 - nanos : 0;
	}
	*out = (struct timespec){ .tv_sec = (time_t)seconds, .tv_nsec = nanos };
	return true;
}

/*
 * User attributes and file capabilities are a layer's to give. Trusted ones would speak to overlayfs in its own voice (redirects into other
 * layers), other security ones to the host's security modules, and user.overlay is what unprivileged overlays read.
 */
static bool may_set(const char *name)
{
	return (starts(name, "user.") && !starts(name, "user.overlay.")) || strcmp(name, "security.capability") == 0;
}

static int take_xattr(const char *name, const char *value, size_t len, struct pax_overrides *out, struct rt_error *err)
{
	/* The label of the machine that built the layer, which means nothing on this one; Docker drops it too, and archivers write it unasked. */
	if (strcmp(name, "security.selinux") == 0)
		return 0;
	if (!may_set(name))
		return rt_fail(err, EPROTO, "extended attribute %.100s is not a layer's to set", name);
	if (strlen(name) > LAYER_NAME_MAX || len > 65536)
		return rt_fail(err, EFBIG, "extended attribute %.100s too long", name);
	for (unsigned i = 0; i < out->xattr_count; i++) {
		if (strcmp(out->xattrs[i].name, name) == 0) {
			out->xattrs[i] = (struct tar_xattr){ name, value, len };
			return 0;
		}
	}
	if (out->xattr_count == LAYER_XATTRS_MAX)
		return rt_fail(err, EFBIG, "more than %d extended attributes", LAYER_XATTRS_MAX);
	out->xattrs[out->xattr_count++] = (struct tar_xattr){ name, value, len };
	return 0;
}

/* An empty value takes a record back, as the standard has it. */
static int take_record(char *key, char *value, size_t len, struct pax_overrides *out, struct rt_error *err)
{
	if (starts(key, XATTR_PREFIX))
		return take_xattr(key + strlen(XATTR_PREFIX), value, len, out, err);
	if (starts(key, "GNU.sparse."))
		return rt_fail(err, EPROTO, "sparse files are not supported in layers");
	if (strlen(value) != len)
		return rt_fail(err, EPROTO, "NUL in the extended header's %.40s", key);
	bool ok = true;
	if (strcmp(key, "path") == 0)
		out->path = len ? value : NULL;
	else if (strcmp(key, "linkpath") == 0)
		out->link = len ? value : NULL;
	else if (strcmp(key, "size") == 0)
		out->has_size = len && (ok = parse_decimal(value, &out->size));
	else if (strcmp(key, "uid") == 0)
		out->has_uid = len && (ok = parse_decimal(value, &out->uid));
	else if (strcmp(key, "gid") == 0)
		out->has_gid = len && (ok = parse_decimal(value, &out->gid));
	else if (strcmp(key, "mtime") == 0)
		out->has_mtime = len && (ok = parse_time(value, &out->mtime));
	return ok ? 0 : rt_fail(err, EPROTO, "malformed %s in an extended header", key);
}

static bool harmless_globally(const char *key)
{
	return strcmp(key, "comment") == 0 || strcmp(key, "atime") == 0 || strcmp(key, "ctime") == 0 || strcmp(key, "mtime") == 0;
}

int pax_parse(char *text, size_t len, bool global, struct pax_overrides *out, struct rt_error *err)
{
	char *p = text, *end = text + len;
	while (p < end) {
		size_t record = 0;
		char *q = p;
		for (; q < end && *q >= '0' && *q <= '9' && record < LAYER_EXTENSION_MAX; q++)
			record = record * 10 + (size_t)(*q - '0');
		if (q == p || q == end || *q != ' ' || record > (size_t)(end - p) || p + record < q + 3 || p[record - 1] != '\n')
			return rt_fail(err, EPROTO, "malformed record in an extended header");
		char *key = q + 1, *stop = p + record - 1;
		char *equals = memchr(key, '=', (size_t)(stop - key));
		if (!equals || equals == key || memchr(key, 0, (size_t)(equals - key)))
			return rt_fail(err, EPROTO, "malformed record in an extended header");
		*equals = 0;
		*stop = 0;
		if (global && !harmless_globally(key))
			return rt_fail(err, EPROTO, "%.40s in a global extended header", key);
		int r = global ? 0 : take_record(key, equals + 1, (size_t)(stop - equals - 1), out, err);
		if (r < 0)
			return r;
		p += record;
	}
	return 0;
}
