/* What the parts of the probe share: its arguments, and its lines of JSON. */
#ifndef BERTH_TEST_PROBE_H
#define BERTH_TEST_PROBE_H

#include <stdbool.h>

/* The next argument; the program ends when there is none. */
const char *next(void);
long next_number(void);

/* A line: begin, fields, end, whose error is errno. */
void begin(const char *op);
void field(const char *key, const char *value);
void end(bool ok);

/* Does one of the operations of probe-attacks.c; false when it is none. */
bool attack_operation(const char *op);

#endif
