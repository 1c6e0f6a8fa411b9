#include "shim/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

uint64_t clock_boot(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * CLOCK_SECOND + (uint64_t)t.tv_nsec;
}

uint64_t clock_add(uint64_t a, uint64_t b)
{
	uint64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? CLOCK_NEVER : sum;
}

void clock_stamp(char out[CLOCK_STAMP + 1])
{
	/* One day of the calendar per second, not per line of output. */
	static time_t second = -1;
	static char text[64];
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	if (t.tv_sec != second) {
		struct tm tm;
		gmtime_r(&t.tv_sec, &tm);
		snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
		second = t.tv_sec;
	}
	memcpy(out, text, 19);
	snprintf(out + 19, CLOCK_STAMP + 1 - 19, ".%09ldZ", t.tv_nsec);
}
