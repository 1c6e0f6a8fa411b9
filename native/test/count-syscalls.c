/*
 * Counts the system calls of a command and of the processes it makes, until the command ends or, in one of those processes, another
 * program begins. Standard output of the command is left alone; the counts go to FILE, as {"status","command","others"}.
 *
 *   count-syscalls FILE ARGV...
 */
#include <errno.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC)
#define SYSCALL_STOP (SIGTRAP | 0x80)

static long trace(long request, pid_t pid, unsigned long address, unsigned long value)
{
	return syscall(SYS_ptrace, request, pid, address, value);
}

static int is_entry(pid_t pid)
{
	struct ptrace_syscall_info info;
	return trace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, (unsigned long)&info) > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

/* Deals with one stop of a process, and lets it go on. */
static void attend(pid_t pid, int status, pid_t command, long *counts)
{
	int sig = WSTOPSIG(status), event = status >> 16;
	if (sig == SYSCALL_STOP) {
		counts[pid != command] += is_entry(pid);
		sig = 0;
	} else if (event == PTRACE_EVENT_EXEC && pid != command) {
		trace(PTRACE_DETACH, pid, 0, 0);
		return;
	} else if (event || sig == SIGSTOP || sig == SIGTRAP) {
		sig = 0;
	}
	trace(PTRACE_SYSCALL, pid, 0, (unsigned long)sig);
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: count-syscalls FILE ARGV...\n");
		return 2;
	}
	pid_t command = fork();
	if (command == 0) {
		trace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execv(argv[2], argv + 2);
		_exit(127);
	}
	int status;
	long counts[2] = { 0, 0 };
	if (command < 0 || waitpid(command, &status, 0) != command || trace(PTRACE_SETOPTIONS, command, 0, OPTIONS) < 0) {
		perror("trace");
		return 1;
	}
	trace(PTRACE_SYSCALL, command, 0, 0);
	for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR;) {
		if (WIFSTOPPED(status))
			attend(pid, status, command, counts);
		else if (pid == command)
			break;
	}
	FILE *out = fopen(argv[1], "we");
	if (!out)
		return 1;
	/* Those that still run are let go as this process ends. */
	fprintf(out, "{\"status\":%d,\"command\":%ld,\"others\":%ld}\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1, counts[0], counts[1]);
	return fclose(out) == 0 ? 0 : 1;
}
