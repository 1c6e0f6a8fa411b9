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

static const int tree_calls[] = { SYS_openat, SYS_newfstatat, SYS_fstat, SYS_getdents64, SYS_readlinkat, SYS_fgetxattr, SYS_flistxattr, SYS_fcntl, SYS_lseek };

static int filter_calls(enum sandbox_kind kind, struct rt_error *err)
{
	enum { PLAIN = sizeof allowed / sizeof *allowed, TREE = sizeof tree_calls / sizeof *tree_calls, HEAD = 4 };
	const unsigned count = kind == SANDBOX_TREES ? PLAIN + TREE : PLAIN;
	struct sock_filter program[HEAD + PLAIN + TREE + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	for (unsigned i = 0; i < count; i++)
		program[HEAD + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(i < PLAIN ? allowed[i] : tree_calls[i - PLAIN]), (uint8_t)(count - i), 0);
	program[HEAD + count] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	program[HEAD + count + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	const struct sock_fprog filter = { .len = (unsigned short)(HEAD + count + 2), .filter = program };
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0 ? rt_fail_errno(err, "filter the sandbox's calls") : 0;
}
#else
static int filter_calls(enum sandbox_kind kind, struct rt_error *err)
{
	(void)kind;
	(void)err;
	return 0;
}
#endif

static int enter(enum sandbox_kind kind, struct rt_error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	/* overlayfs's marks are read by nobody with less. */
	const uint32_t held = kind == SANDBOX_TREES ? 1u << CAP_DAC_READ_SEARCH | 1u << CAP_SYS_ADMIN : 0;
	const struct __user_cap_data_struct caps[2] = { { .effective = held, .permitted = held } };
	if (kind == SANDBOX_TREES && chroot(".") < 0)
		return rt_fail_errno(err, "enter the sandbox");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return rt_fail_errno(err, "enter the sandbox");
	if (syscall(SYS_capset, &header, caps) < 0)
		return rt_fail_errno(err, "drop the sandbox's capabilities");
	return filter_calls(kind, err);
}

static int start(enum sandbox_kind kind, pid_t parent, int (*work)(void *context, struct rt_error *err), struct shared *s, pid_t *out, struct rt_error *err)
{
	*out = fork();
	if (*out != 0)
		return *out < 0 ? rt_fail_errno(err, "start the sandbox") : 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The parent may have died before that. */
	if (getppid() != parent)
		_exit(1);
	s->result = enter(kind, &s->err);
	if (s->result == 0)
		s->result = work(s->context, &s->err);
	_exit(0);
}

int sandbox_run(enum sandbox_kind kind, int (*work)(void *context, struct rt_error *err), void *context, size_t len, struct rt_error *err)
{
	struct shared *s = mmap(NULL, sizeof *s + len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return rt_fail_errno(err, "start the sandbox");
	memcpy(s->context, context, len);
	pid_t child;
	int status = 0, r = start(kind, getpid(), work, s, &child, err);
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
