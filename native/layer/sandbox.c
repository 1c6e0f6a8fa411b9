#include "layer/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/scope.h"

#ifdef __x86_64__
#define ARCHITECTURE AUDIT_ARCH_X86_64
#else
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

struct shared {
	struct rt_error err;
	int result;
	unsigned char context[];
};

#ifndef BERTH_SANITIZED
/* What reading, writing, threads and an allocator need. The sanitizers' own needs have no end, so their build goes without. */
static const int allowed[] = {
	SYS_read, SYS_pread64, SYS_write, SYS_pwrite64, SYS_close, SYS_fsync, SYS_ftruncate, SYS_sync_file_range,
	SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_brk,
	SYS_futex, SYS_clone, SYS_clone3, SYS_set_robust_list, SYS_rseq, SYS_gettid, SYS_sched_yield, SYS_membarrier,
	SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_getrandom, SYS_restart_syscall, SYS_exit, SYS_exit_group,
};

static int filter_calls(struct rt_error *err)
{
	enum { COUNT = sizeof allowed / sizeof *allowed, HEAD = 4 };
	struct sock_filter program[HEAD + COUNT + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	for (unsigned i = 0; i < COUNT; i++)
		program[HEAD + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], (uint8_t)(COUNT - i), 0);
	program[HEAD + COUNT] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	program[HEAD + COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	const struct sock_fprog filter = { .len = HEAD + COUNT + 2, .filter = program };
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0 ? rt_fail_errno(err, "filter the sandbox's calls") : 0;
}
#else
static int filter_calls(struct rt_error *err)
{
	(void)err;
	return 0;
}
#endif

static int enter(struct rt_error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[2] = { 0 };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return rt_fail_errno(err, "enter the sandbox");
	if (syscall(SYS_capset, &header, none) < 0)
		return rt_fail_errno(err, "drop the sandbox's capabilities");
	return filter_calls(err);
}

static int start(pid_t parent, int (*work)(void *context, struct rt_error *err), struct shared *s, pid_t *out, struct rt_error *err)
{
	*out = fork();
	if (*out != 0)
		return *out < 0 ? rt_fail_errno(err, "start the sandbox") : 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The parent may have died before that. */
	if (getppid() != parent)
		_exit(1);
	s->result = enter(&s->err);
	if (s->result == 0)
		s->result = work(s->context, &s->err);
	_exit(0);
}

int sandbox_run(int (*work)(void *context, struct rt_error *err), void *context, size_t len, struct rt_error *err)
{
	struct shared *s = mmap(NULL, sizeof *s + len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return rt_fail_errno(err, "start the sandbox");
	memcpy(s->context, context, len);
	pid_t child;
	int status = 0, r = start(getpid(), work, s, &child, err);
	if (r == 0 && retry_eintr(waitpid(child, &status, 0)) < 0)
		r = rt_fail_errno(err, "wait for the sandbox");
	if (r == 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
		r = rt_fail(err, EIO, "the sandbox was ended by signal %d", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	if (r == 0) {
		memcpy(context, s->context, len);
		*err = s->err;
		r = s->result;
	}
	munmap(s, sizeof *s + len);
	return r;
}
