#include "runtime/signals.h"

#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>

/* The kernel's real-time signals; a C library keeps some of the first for itself and moves its SIGRTMIN. */
#define KERNEL_RTMIN 34
#define KERNEL_SIGNALS 64

static const struct { const char *name; int number; } names[] = {
	{ "HUP", SIGHUP },   { "INT", SIGINT },       { "QUIT", SIGQUIT },     { "ILL", SIGILL },   { "TRAP", SIGTRAP }, { "ABRT", SIGABRT }, { "IOT", SIGABRT },
	{ "BUS", SIGBUS },   { "FPE", SIGFPE },       { "KILL", SIGKILL },     { "USR1", SIGUSR1 }, { "SEGV", SIGSEGV }, { "USR2", SIGUSR2 }, { "PIPE", SIGPIPE },
	{ "ALRM", SIGALRM }, { "TERM", SIGTERM },     { "STKFLT", SIGSTKFLT }, { "CHLD", SIGCHLD }, { "CLD", SIGCHLD },  { "CONT", SIGCONT }, { "STOP", SIGSTOP },
	{ "TSTP", SIGTSTP }, { "TTIN", SIGTTIN },     { "TTOU", SIGTTOU },     { "URG", SIGURG },   { "XCPU", SIGXCPU }, { "XFSZ", SIGXFSZ }, { "VTALRM", SIGVTALRM },
	{ "PROF", SIGPROF }, { "WINCH", SIGWINCH },   { "IO", SIGIO },         { "POLL", SIGIO },   { "PWR", SIGPWR },   { "SYS", SIGSYS },
};

static int number(const char *text)
{
	char *end;
	long v = strtol(text, &end, 10);
	return *text && !*end && v >= 0 && v <= KERNEL_SIGNALS ? (int)v : -1;
}

int signal_from_text(const char *text)
{
	if (isdigit((unsigned char)*text))
		return number(text);
	if (!strncasecmp(text, "SIG", 3))
		text += 3;
	for (unsigned long i = 0; i < sizeof names / sizeof *names; i++) {
		if (!strcasecmp(names[i].name, text))
			return names[i].number;
	}
	int base = !strncasecmp(text, "RTMIN", 5) ? KERNEL_RTMIN : !strncasecmp(text, "RTMAX", 5) ? KERNEL_SIGNALS : 0;
	if (base == 0)
		return -1;
	text += 5;
	if (!*text)
		return base;
	int offset = isdigit((unsigned char)text[1]) ? number(text + 1) : -1;
	if (offset < 0 || *text != (base == KERNEL_RTMIN ? '+' : '-'))
		return -1;
	int v = base == KERNEL_RTMIN ? base + offset : base - offset;
	return v >= KERNEL_RTMIN && v <= KERNEL_SIGNALS ? v : -1;
}
