#include "runtime/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "common/json.h"
#include "common/scope.h"

static struct {
	const char *path;
	bool json, debug;
} target;

void log_to(const char *path, bool json, bool debug)
{
	target.path = path;
	target.json = json;
	target.debug = debug;
}

/* logfmt's quoting is JSON's too. */
static void write_entry(int fd, const char *level, const char *message)
{
	struct json_out msg = { 0 };
	char now[40];
	time_t t = time(NULL);
	struct tm tm;
	strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	json_out_str(&msg, message);
	cleanup_free char *quoted = json_out_finish(&msg);
	if (!quoted)
		return;
	if (target.json)
		dprintf(fd, "{\"level\":\"%s\",\"msg\":%s,\"time\":\"%s\"}\n", level, quoted, now);
	else
		dprintf(fd, "time=\"%s\" level=%s msg=%s\n", now, level, quoted);
}

static void write_file(const char *level, const char *message)
{
	/* An engine may give a FIFO that nobody reads; a log is never worth waiting for. */
	cleanup_fd int fd = target.path ? open(target.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600) : -1;
	if (fd >= 0)
		write_entry(fd, level, message);
}

void log_error(const char *message)
{
	fprintf(stderr, "berth-runtime: %s\n", message);
	write_file("error", message);
}

void log_warning(const char *format, ...)
{
	char message[1024];
	va_list ap;
	va_start(ap, format);
	vsnprintf(message, sizeof message, format, ap);
	va_end(ap);
	fprintf(stderr, "berth-runtime: warning: %s\n", message);
	write_file("warning", message);
}

void log_debug(const char *format, ...)
{
	char message[1024];
	va_list ap;
	if (!target.debug)
		return;
	va_start(ap, format);
	vsnprintf(message, sizeof message, format, ap);
	va_end(ap);
	if (target.path)
		write_file("debug", message);
	else
		write_entry(STDERR_FILENO, "debug", message);
}
