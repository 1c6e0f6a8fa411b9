#include "common/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 16384

struct chunk {
	struct chunk *next;
	size_t used, cap;
	_Alignas(16) char bytes[];
};

struct json_doc {
	struct chunk *chunks;
	struct json *root;
};

/* Of an object: up to here each name is compared with all before it. */
#define FEW_MEMBERS 32

struct parser {
	const char *start, *p, *end;
	struct json_doc *doc;
	struct rt_error *err;
	int depth;
};

static void *alloc(struct json_doc *doc, size_t size)
{
	size = (size + 15) & ~(size_t)15;
	struct chunk *c = doc->chunks;
	if (!c || c->cap - c->used < size) {
		size_t cap = size > CHUNK_BYTES ? size : CHUNK_BYTES;
		c = malloc(sizeof *c + cap);
		if (!c)
			return NULL;
		*c = (struct chunk){ .next = doc->chunks, .cap = cap };
		doc->chunks = c;
	}
	void *p = c->bytes + c->used;
	c->used += size;
	return p;
}

static int bad(struct parser *ps, const char *what)
{
	return rt_fail(ps->err, EINVAL, "invalid JSON at byte %td: %s", ps->p - ps->start, what);
}

static int no_memory(struct parser *ps)
{
	return rt_fail(ps->err, ENOMEM, "parse JSON");
}

static void skip_space(struct parser *ps)
{
	while (ps->p < ps->end && (*ps->p == ' ' || *ps->p == '\n' || *ps->p == '\t' || *ps->p == '\r'))
		ps->p++;
}

static uint32_t hash(const char *s)
{
	uint32_t h = 2166136261u;
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h;
}

static int hex4(const char *p, const char *end)
{
	if (end - p < 4)
		return -1;
	int v = 0;
	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

static char *put_utf8(char *o, uint32_t c)
{
	if (c < 0x80) {
		*o++ = (char)c;
	} else if (c < 0x800) {
		*o++ = (char)(0xc0 | c >> 6);
		*o++ = (char)(0x80 | (c & 63));
	} else if (c < 0x10000) {
		*o++ = (char)(0xe0 | c >> 12);
		*o++ = (char)(0x80 | (c >> 6 & 63));
		*o++ = (char)(0x80 | (c & 63));
	} else {
		*o++ = (char)(0xf0 | c >> 18);
		*o++ = (char)(0x80 | (c >> 12 & 63));
		*o++ = (char)(0x80 | (c >> 6 & 63));
		*o++ = (char)(0x80 | (c & 63));
	}
	return o;
}

/* Reads the escape after a backslash at ps->p. */
static int read_escape(struct parser *ps, char **out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	char c = *ps->p;
	if (c != 'u') {
		const char *at = c ? strchr(from, c) : NULL;
		if (!at)
			return bad(ps, "unknown escape");
		*(*out)++ = to[at - from];
		ps->p++;
		return 0;
	}
	int hi = hex4(ps->p + 1, ps->end);
	if (hi < 0)
		return bad(ps, "\\u needs four hex digits");
	if (hi == 0)
		return bad(ps, "a NUL character is not allowed");
	ps->p += 5;
	uint32_t code = (uint32_t)hi;
	if (hi >= 0xd800 && hi < 0xe000) {
		int lo = ps->end - ps->p >= 6 && ps->p[0] == '\\' && ps->p[1] == 'u' ? hex4(ps->p + 2, ps->end) : -1;
		if (hi >= 0xdc00 || lo < 0xdc00 || lo >= 0xe000)
			return bad(ps, "lone surrogate");
		code = 0x10000 + ((uint32_t)(hi - 0xd800) << 10) + (uint32_t)(lo - 0xdc00);
		ps->p += 6;
	}
	*out = put_utf8(*out, code);
	return 0;
}

static int read_string(struct parser *ps, const char **out, size_t *len)
{
	const char *close = ++ps->p;
	while (close < ps->end && *close != '"')
		close += *close == '\\' ? 2 : 1;
	if (close >= ps->end)
		return bad(ps, "unterminated string");
	char *o = alloc(ps->doc, (size_t)(close - ps->p) + 1);
	if (!o)
		return no_memory(ps);
	*out = o;
	while (*ps->p != '"') {
		unsigned char c = (unsigned char)*ps->p;
		if (c < ' ')
			return bad(ps, "control character in a string");
		if (c != '\\' && c < 0x80) {
			*o++ = *ps->p++;
			continue;
		}
		if (c != '\\') {
			/* The writer could not give back what is no UTF-8: a path would be another one after a restart. */
			size_t n = json_utf8_len(ps->p, (size_t)(close - ps->p));
			if (n == 0)
				return bad(ps, "a string that is not UTF-8");
			while (n-- > 0)
				*o++ = *ps->p++;
			continue;
		}
		ps->p++;
		int r = read_escape(ps, &o);
		if (r < 0)
			return r;
	}
	ps->p++;
	*o = 0;
	*len = (size_t)(o - *out);
	return 0;
}

static int read_value(struct parser *ps, struct json **out);

static int read_number(struct parser *ps, struct json *n)
{
	const char *s = ps->p;
	const char *p = s;
	p += p < ps->end && *p == '-';
	const char *digits = p;
	while (p < ps->end && *p >= '0' && *p <= '9')
		p++;
	if (p == digits || (*digits == '0' && p - digits > 1))
		return bad(ps, "malformed number");
	if (p < ps->end && *p == '.') {
		const char *frac = ++p;
		while (p < ps->end && *p >= '0' && *p <= '9')
			p++;
		if (p == frac)
			return bad(ps, "malformed number");
	}
	if (p < ps->end && (*p == 'e' || *p == 'E')) {
		p++;
		p += p < ps->end && (*p == '+' || *p == '-');
		const char *exp = p;
		while (p < ps->end && *p >= '0' && *p <= '9')
			p++;
		if (p == exp)
			return bad(ps, "malformed number");
	}
	size_t len = (size_t)(p - s);
	char *text = alloc(ps->doc, len + 1);
	if (!text)
		return no_memory(ps);
	memcpy(text, s, len);
	text[len] = 0;
	n->type = JSON_NUMBER;
	n->string = text;
	n->count = len;
	ps->p = p;
	return 0;
}

static int read_word(struct parser *ps, struct json *n)
{
	static const struct { const char *word; size_t len; enum json_type type; bool value; } words[] = {
		{ "true", 4, JSON_BOOL, true }, { "false", 5, JSON_BOOL, false }, { "null", 4, JSON_NULL, false },
	};
	for (size_t i = 0; i < 3; i++) {
		if ((size_t)(ps->end - ps->p) >= words[i].len && !memcmp(ps->p, words[i].word, words[i].len)) {
			n->type = words[i].type;
			n->boolean = words[i].value;
			ps->p += words[i].len;
			return 0;
		}
	}
	return bad(ps, "unexpected character");
}

static int read_key(struct parser *ps, const struct json *object, const char **key, uint32_t *key_hash)
{
	skip_space(ps);
	if (ps->p >= ps->end || *ps->p != '"')
		return bad(ps, "expected a member name");
	size_t len;
	int r = read_string(ps, key, &len);
	if (r < 0)
		return r;
	*key_hash = hash(*key);
	/* Those of a large object are compared all at once, at its end. */
	for (const struct json *m = object->count < FEW_MEMBERS ? object->child : NULL; m; m = m->next) {
		if (m->key_hash == *key_hash && !strcmp(m->key, *key))
			return bad(ps, "duplicate member name");
	}
	if (object->count >= JSON_MAX_MEMBERS)
		return bad(ps, "too many members");
	skip_space(ps);
	if (ps->p >= ps->end || *ps->p != ':')
		return bad(ps, "expected ':'");
	ps->p++;
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In the order of their names, so that a hostile object of many members costs no more than its sorting. */
static int check_large(struct parser *ps, const struct json *object)
{
	size_t n = 0;
	const char **keys = calloc(object->count, sizeof *keys);
	if (!keys)
		return no_memory(ps);
	json_each(m, object)
		keys[n++] = m->key;
	qsort(keys, n, sizeof *keys, compare_keys);
	size_t i = 1;
	while (i < n && strcmp(keys[i - 1], keys[i]))
		i++;
	free(keys);
	return i < n ? bad(ps, "duplicate member name") : 0;
}

static int read_container(struct parser *ps, struct json *n)
{
	bool object = *ps->p == '{';
	char close = object ? '}' : ']';
	n->type = object ? JSON_OBJECT : JSON_ARRAY;
	if (++ps->depth > JSON_MAX_DEPTH)
		return bad(ps, "nested too deeply");
	ps->p++;
	skip_space(ps);
	if (ps->p < ps->end && *ps->p == close) {
		ps->p++;
		ps->depth--;
		return 0;
	}
	struct json **tail = &n->child;
	for (;;) {
		const char *key = NULL;
		uint32_t key_hash = 0;
		int r = object ? read_key(ps, n, &key, &key_hash) : 0;
		if (r < 0 || (r = read_value(ps, tail)) < 0)
			return r;
		(*tail)->key = key;
		(*tail)->key_hash = key_hash;
		tail = &(*tail)->next;
		n->count++;
		skip_space(ps);
		if (ps->p < ps->end && *ps->p == ',') {
			ps->p++;
			continue;
		}
		if (ps->p >= ps->end || *ps->p != close)
			return bad(ps, object ? "expected ',' or '}'" : "expected ',' or ']'");
		if (object && n->count > FEW_MEMBERS && (r = check_large(ps, n)) < 0)
			return r;
		ps->p++;
		ps->depth--;
		return 0;
	}
}

static int read_value(struct parser *ps, struct json **out)
{
	skip_space(ps);
	if (ps->p >= ps->end)
		return bad(ps, "unexpected end");
	struct json *n = alloc(ps->doc, sizeof *n);
	if (!n)
		return no_memory(ps);
	*n = (struct json){ 0 };
	/* Linked only when whole: the duplicate checks walk finished members. */
	int r;
	char c = *ps->p;
	if (c == '{' || c == '[') {
		r = read_container(ps, n);
	} else if (c == '"') {
		n->type = JSON_STRING;
		r = read_string(ps, &n->string, &n->count);
	} else if (c == '-' || (c >= '0' && c <= '9')) {
		r = read_number(ps, n);
	} else {
		r = read_word(ps, n);
	}
	if (r == 0)
		*out = n;
	return r;
}

int json_parse(const char *text, size_t len, struct json_doc **out, struct rt_error *err)
{
	*out = NULL;
	if (len > JSON_MAX_BYTES)
		return rt_fail(err, E2BIG, "JSON text of %zu bytes", len);
	struct json_doc *doc = calloc(1, sizeof *doc);
	if (!doc)
		return rt_fail(err, ENOMEM, "parse JSON");
	struct parser ps = { .start = text, .p = text, .end = text + len, .doc = doc, .err = err };
	int r = read_value(&ps, &doc->root);
	if (r == 0) {
		skip_space(&ps);
		if (ps.p != ps.end)
			r = bad(&ps, "text after the value");
	}
	if (r < 0)
		json_free(doc);
	else
		*out = doc;
	return r;
}

void *json_alloc(struct json_doc *doc, size_t size)
{
	void *p = alloc(doc, size);
	return p ? memset(p, 0, size) : NULL;
}

const struct json *json_root(const struct json_doc *doc)
{
	return doc->root;
}

void json_free(struct json_doc *doc)
{
	if (!doc)
		return;
	for (struct chunk *c = doc->chunks; c;) {
		struct chunk *next = c->next;
		free(c);
		c = next;
	}
	free(doc);
}

const struct json *json_get(const struct json *obj, const char *key)
{
	if (!obj || obj->type != JSON_OBJECT)
		return NULL;
	json_each(m, obj) {
		if (!strcmp(m->key, key))
			return m->type == JSON_NULL ? NULL : m;
	}
	return NULL;
}

const struct json *json_path(const struct json *obj, const char *path)
{
	char part[64];
	while (obj && *path) {
		size_t n = strcspn(path, ".");
		if (n >= sizeof part)
			return NULL;
		memcpy(part, path, n);
		part[n] = 0;
		obj = json_get(obj, part);
		path += n + (path[n] == '.');
	}
	return obj;
}

const char *json_str(const struct json *node, const char *fallback)
{
	return node && node->type == JSON_STRING ? node->string : fallback;
}

bool json_bool(const struct json *node, bool fallback)
{
	return node && node->type == JSON_BOOL ? node->boolean : fallback;
}

bool json_u64(const struct json *node, uint64_t *out)
{
	if (!node || node->type != JSON_NUMBER || node->string[0] == '-' || node->string[strspn(node->string, "0123456789")])
		return false;
	errno = 0;
	uint64_t v = strtoull(node->string, NULL, 10);
	if (errno)
		return false;
	*out = v;
	return true;
}

bool json_i64(const struct json *node, int64_t *out)
{
	if (!node || node->type != JSON_NUMBER || node->string[strspn(node->string, "-0123456789")])
		return false;
	errno = 0;
	int64_t v = strtoll(node->string, NULL, 10);
	if (errno)
		return false;
	*out = v;
	return true;
}

bool json_equal(const struct json *a, const struct json *b)
{
	if (!a || !b)
		return a == b;
	if (a->type != b->type || a->count != b->count || a->boolean != b->boolean)
		return false;
	if (a->type == JSON_STRING || a->type == JSON_NUMBER)
		return strcmp(a->string, b->string) == 0;
	const struct json *other = b->child;
	json_each(it, a) {
		/* As many members on both sides, and no name twice: a match for each of one side's is one for all. */
		if (!json_equal(it, a->type == JSON_OBJECT ? json_get(b, it->key) : other))
			return false;
		other = other ? other->next : NULL;
	}
	return true;
}
