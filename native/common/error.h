/*
 * Errors that carry their story.
 *
 * A function that can fail returns 0 or -errno and takes `struct rt_error *err` last. The first failure wins: once set, later
 * calls of rt_fail keep it, so that cleaning up never hides the cause. The struct has a fixed size and no pointers, so it
 * crosses a socket between processes unchanged.
 */
#ifndef BERTH_COMMON_ERROR_H
#define BERTH_COMMON_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#define RT_ERROR_TEXT 504
#define must_check __attribute__((warn_unused_result))

struct rt_error {
	int code;                  /* a positive errno; 0: no error */
	char text[RT_ERROR_TEXT];  /* one line, NUL-terminated, without the errno's own words */
};

/* Sets err to `code` (an errno, positive or negative; 0 counts as EINVAL) and the text, unless already set. Returns -|code|. */
int rt_fail(struct rt_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* rt_fail with the current errno. */
int rt_fail_errno(struct rt_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " before the text of a set error; does nothing to an unset one. */
void rt_prefix(struct rt_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The whole message, "text: strerror" for real errnos; EINVAL and EPROTO name a refusal of the input and add nothing. Truncates to size. */
void rt_error_message(const struct rt_error *err, char *out, unsigned long size);

#endif
