/*
 * berth-init: PID 1 of a container that asked for one. `/dev/init -- ARGV...`
 *
 * Starts ARGV as its child in the foreground, forwards signals to it, reaps what is orphaned, and exits with the child's
 * status: its exit code, or 128 + the signal that killed it. 127 when ARGV[0] is not found, 126 when it cannot be executed.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOT_FOUND 127
#define NOT_EXECUTABLE 126
#define USAGE_ERROR 64

/* Signals that a fault raises in the process itself stay unblocked: blocked, they would loop forever. */
static void block_signals(sigset_t *old)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS };
	sigset_t set;
	sigfillset(&set);
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		sigdelset(&set, faults[i]);
	sigprocmask(SIG_BLOCK, &set, old);
}

static _Noreturn void run(char **argv, const sigset_t *old)
{
	/* A process group of its own, which owns the terminal if there is one: job control and Ctrl-C reach the program, not init. */
	setpgid(0, 0);
	tcsetpgrp(STDIN_FILENO, getpid());
	sigprocmask(SIG_SETMASK, old, NULL);
	execvp(argv[0], argv);
	int code = errno == ENOENT || errno == ENOTDIR ? NOT_FOUND : NOT_EXECUTABLE;
	dprintf(STDERR_FILENO, "init: %s: %s\n", argv[0], strerror(errno));
	_exit(code);
}

/* Reaps everything that has ended. Returns whether `child` was among it. */
static int reap(pid_t child, int *status)
{
	int found = 0, one;
	pid_t pid;
	while ((pid = waitpid(-1, &one, WNOHANG)) > 0) {
		if (pid == child) {
			*status = one;
			found = 1;
		}
	}
	return found;
}

int main(int argc, char **argv)
{
	if (argc < 3 || strcmp(argv[1], "--") != 0) {
		dprintf(STDERR_FILENO, "usage: init -- ARGV...\n");
		return USAGE_ERROR;
	}
	sigset_t old, all;
	block_signals(&old);
	/* Not PID 1 when the container shares a PID namespace; orphans come here all the same. */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	pid_t child = fork();
	if (child < 0) {
		dprintf(STDERR_FILENO, "init: fork: %s\n", strerror(errno));
		return NOT_EXECUTABLE;
	}
	if (child == 0)
		run(argv + 2, &old);
	sigfillset(&all);
	int status = 0;
	for (;;) {
		siginfo_t si;
		int n = sigwaitinfo(&all, &si);
		if (n < 0)
			continue;
		if (n != SIGCHLD)
			kill(child, n);
		else if (reap(child, &status))
			break;
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
