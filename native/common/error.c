#include "common/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int fail_va(struct rt_error *err, int code, const char *fmt, va_list ap)
{
	if (code < 0)
		code = -code;
	if (code == 0)
		code = EINVAL;
	if (err->code == 0) {
		err->code = code;
		vsnprintf(err->text, sizeof err->text, fmt, ap);
		for (char *p = err->text; *p; p++) {
			if ((unsigned char)*p < ' ')
				*p = '?';
		}
	}
	return -code;
}

int rt_fail(struct rt_error *err, int code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int r = fail_va(err, code, fmt, ap);
	va_end(ap);
	return r;
}

int rt_fail_errno(struct rt_error *err, const char *fmt, ...)
{
	int code = errno;
	va_list ap;
	va_start(ap, fmt);
	int r = fail_va(err, code, fmt, ap);
	va_end(ap);
	return r;
}

void rt_prefix(struct rt_error *err, const char *fmt, ...)
{
	if (err->code == 0)
		return;
	char text[RT_ERROR_TEXT];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n < 0 || n >= (int)sizeof text - 3)
		return;
	snprintf(text + n, sizeof text - (unsigned)n, ": %s", err->text);
	memcpy(err->text, text, sizeof text);
}

void rt_error_message(const struct rt_error *err, char *out, unsigned long size)
{
	if (err->code == 0 || err->code == EINVAL || err->code == EPROTO)
		snprintf(out, size, "%s", err->text);
	else
		snprintf(out, size, "%s: %s", err->text, strerror(err->code));
}
