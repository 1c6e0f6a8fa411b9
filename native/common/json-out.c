#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

static void put(struct json_out *o, const char *s, size_t n)
{
	if (o->failed)
		return;
	if (o->cap - o->len <= n) {
		size_t cap = (o->len + n + 1) * 2;
		cap = cap < 512 ? 512 : cap;
		char *t = realloc(o->text, cap);
		if (!t) {
			o->failed = true;
			return;
		}
		o->text = t;
		o->cap = cap;
	}
	memcpy(o->text + o->len, s, n);
	o->len += n;
	o->text[o->len] = 0;
}

static void separate(struct json_out *o)
{
	if (o->comma)
		put(o, ",", 1);
	o->comma = true;
}

void json_out_open(struct json_out *o, char bracket)
{
	separate(o);
	put(o, &bracket, 1);
	o->comma = false;
}

void json_out_close(struct json_out *o, char bracket)
{
	put(o, &bracket, 1);
	o->comma = true;
}

size_t json_utf8_len(const char *text, size_t n)
{
	const unsigned char *s = (const unsigned char *)text;
	if (s[0] < 0x80)
		return 1;
	size_t len = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

static void put_quoted(struct json_out *o, const char *value, size_t len)
{
	const unsigned char *s = (const unsigned char *)value;
	put(o, "\"", 1);
	for (size_t i = 0; i < len;) {
		size_t n = json_utf8_len(value + i, len - i);
		if (n == 0) {
			put(o, "\\ufffd", 6);
			i++;
		} else if (n == 1 && (s[i] < ' ' || s[i] == '"' || s[i] == '\\' || s[i] == 0x7f)) {
			char esc[8];
			int w = s[i] == '"' || s[i] == '\\' ? snprintf(esc, sizeof esc, "\\%c", s[i]) : snprintf(esc, sizeof esc, "\\u%04x", s[i]);
			put(o, esc, (size_t)w);
			i++;
		} else {
			put(o, value + i, n);
			i += n;
		}
	}
	put(o, "\"", 1);
}

void json_out_key(struct json_out *o, const char *key)
{
	separate(o);
	put_quoted(o, key, strlen(key));
	put(o, ":", 1);
	o->comma = false;
}

void json_out_strn(struct json_out *o, const char *value, size_t len)
{
	separate(o);
	put_quoted(o, value, len);
}

void json_out_str(struct json_out *o, const char *value)
{
	if (value)
		json_out_strn(o, value, strlen(value));
	else
		json_out_null(o);
}

static void put_text(struct json_out *o, const char *text)
{
	separate(o);
	put(o, text, strlen(text));
}

void json_out_int(struct json_out *o, int64_t value)
{
	char text[32];
	snprintf(text, sizeof text, "%" PRId64, value);
	put_text(o, text);
}

void json_out_uint(struct json_out *o, uint64_t value)
{
	char text[32];
	snprintf(text, sizeof text, "%" PRIu64, value);
	put_text(o, text);
}

void json_out_bool(struct json_out *o, bool value)
{
	put_text(o, value ? "true" : "false");
}

void json_out_null(struct json_out *o)
{
	put_text(o, "null");
}

void json_out_node(struct json_out *o, const struct json *value)
{
	switch (value->type) {
	case JSON_NULL:
		json_out_null(o);
		break;
	case JSON_BOOL:
		json_out_bool(o, value->boolean);
		break;
	case JSON_NUMBER:
		put_text(o, value->string);
		break;
	case JSON_STRING:
		json_out_strn(o, value->string, value->count);
		break;
	case JSON_ARRAY:
	case JSON_OBJECT:
		json_out_open(o, value->type == JSON_ARRAY ? '[' : '{');
		json_each(it, value) {
			if (value->type == JSON_OBJECT)
				json_out_key(o, it->key);
			json_out_node(o, it);
		}
		json_out_close(o, value->type == JSON_ARRAY ? ']' : '}');
		break;
	}
}

char *json_out_finish(struct json_out *o)
{
	char *text = o->text;
	if (o->failed) {
		free(text);
		text = NULL;
	}
	*o = (struct json_out){ 0 };
	return text;
}
