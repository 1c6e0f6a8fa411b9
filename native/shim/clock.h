/* The two clocks a shim reads: one for deadlines, one for people. */
#ifndef BERTH_SHIM_CLOCK_H
#define BERTH_SHIM_CLOCK_H

#include <stdint.h>

#define CLOCK_MS 1000000ull
#define CLOCK_SECOND 1000000000ull
#define CLOCK_NEVER UINT64_MAX
#define CLOCK_STAMP 30 /* characters of a stamp */

/* Nanoseconds of CLOCK_BOOTTIME, which counts suspended time as well: a lease must not outlive a closed lid. */
uint64_t clock_boot(void);

/* a + b, or CLOCK_NEVER when that overflows. */
uint64_t clock_add(uint64_t a, uint64_t b);

/* The time of day as RFC 3339 in UTC with nanoseconds, "2026-01-31T23:59:59.000000001Z", NUL-terminated. */
void clock_stamp(char out[CLOCK_STAMP + 1]);

#endif
