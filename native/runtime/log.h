/*
 * The log that an engine asks for with --log: one line an entry, in logrus' JSON ({"level","msg","time"}; containerd reads the
 * last error from it) or its text form. Without --log, errors and warnings go to stderr alone.
 */
#ifndef BERTH_RUNTIME_LOG_H
#define BERTH_RUNTIME_LOG_H

#include <stdbool.h>

/* Remembers where and how to log; the strings stay the caller's. `path` may be NULL. Opens nothing yet. */
void log_to(const char *path, bool json, bool debug);

/* Writes "berth-runtime: MESSAGE" to stderr, and an entry. */
void log_error(const char *message);
/* The same as a warning: the command goes on. */
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* An entry only with --debug; to stderr when there is no --log. */
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
