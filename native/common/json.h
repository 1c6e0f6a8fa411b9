/*
 * A small JSON reader and writer (RFC 8259), for configuration and state that may be hostile.
 *
 * The reader refuses what is ambiguous or unbounded: text over JSON_MAX_BYTES, nesting over JSON_MAX_DEPTH, duplicate member
 * names, an escaped NUL (no path or argument can hold one), lone surrogates, bytes that are no UTF-8, anything after the value. A document owns all
 * of its nodes and strings; they live until json_free.
 */
#ifndef BERTH_COMMON_JSON_H
#define BERTH_COMMON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define JSON_MAX_BYTES (8u << 20)
#define JSON_MAX_DEPTH 64
#define JSON_MAX_MEMBERS 4096 /* of one object */

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
	enum json_type type;
	uint32_t key_hash;
	const char *key;    /* member name; NULL for elements and the root */
	struct json *next;  /* next member or element */
	struct json *child; /* first member or element of an object or array */
	size_t count;       /* members, elements, or the bytes of a string */
	const char *string; /* NUL-terminated; of a number: its text */
	bool boolean;
};

struct json_doc;

/* Parses len bytes. EINVAL with the offset on any error, ENOMEM, E2BIG. */
must_check int json_parse(const char *text, size_t len, struct json_doc **out, struct rt_error *err);
const struct json *json_root(const struct json_doc *doc);
void json_free(struct json_doc *doc);
/* Bytes of the UTF-8 sequence at the start of n > 0 bytes (RFC 3629); 0 when there is no valid one. */
size_t json_utf8_len(const char *text, size_t n);
/* Zeroed memory that lives as long as the document; NULL when there is none. */
void *json_alloc(struct json_doc *doc, size_t size);

/* The member, or NULL when obj is NULL, no object, or has no such member. A JSON null counts as absent. */
const struct json *json_get(const struct json *obj, const char *key);
/* json_get along a '.'-separated path. */
const struct json *json_path(const struct json *obj, const char *path);
/* The string of a string node; `fallback` when the node is absent or of another type. */
const char *json_str(const struct json *node, const char *fallback);
bool json_bool(const struct json *node, bool fallback);
/* False unless the node is an integer in range. */
bool json_i64(const struct json *node, int64_t *out);
bool json_u64(const struct json *node, uint64_t *out);

/* Whether two values say the same; members in any order, numbers by their text. NULL is equal to NULL alone. */
bool json_equal(const struct json *a, const struct json *b);

#define json_each(it, parent) \
	for (const struct json *it = (parent) ? (parent)->child : NULL; it; it = it->next)

/*
 * The writer: compact text in a growing buffer. Members and elements get their commas by themselves; a failed allocation
 * makes json_out_finish return NULL and every call in between a no-op.
 */
struct json_out {
	char *text;
	size_t len, cap;
	bool failed, comma;
};

void json_out_open(struct json_out *o, char bracket);  /* '{' or '[' */
void json_out_close(struct json_out *o, char bracket); /* '}' or ']' */
void json_out_key(struct json_out *o, const char *key);
void json_out_str(struct json_out *o, const char *value); /* NULL writes null; bytes that are no UTF-8 become U+FFFD */
void json_out_strn(struct json_out *o, const char *value, size_t len);
void json_out_int(struct json_out *o, int64_t value);
void json_out_uint(struct json_out *o, uint64_t value);
void json_out_bool(struct json_out *o, bool value);
void json_out_null(struct json_out *o);
void json_out_node(struct json_out *o, const struct json *value); /* a parsed value, written again */
char *json_out_finish(struct json_out *o); /* the caller's to free */

static inline void json_free_scope(struct json_doc **doc)
{
	json_free(*doc);
}
#define cleanup_json __attribute__((cleanup(json_free_scope)))

#endif
