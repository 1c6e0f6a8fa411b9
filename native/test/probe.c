/*
 * The program of test containers: does what its arguments say, one operation after the other, and prints one line of JSON
 * for each: {"op":...,"ok":true,...} or {"op":...,"ok":false,"error":"ENOENT"}. Static, so that a root file system holding
 * nothing else can run it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

static char **argp;

const char *next(void)
{
	if (!*argp) {
		fprintf(stderr, "probe: an argument is missing\n");
		exit(99);
	}
	return *argp++;
}

long next_number(void)
{
	return strtol(next(), NULL, 0);
}

static void quote(const char *s, size_t n)
{
	putchar('"');
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < ' ' || c > '~')
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

void field(const char *key, const char *value)
{
	printf(",\"%s\":", key);
	quote(value, strlen(value));
}

void begin(const char *op)
{
	printf("{\"op\":\"%s\"", op);
}

void end(bool ok)
{
	int e = errno;
	printf(",\"ok\":%s", ok ? "true" : "false");
	if (!ok)
		field("error", strerrorname_np(e) ? strerrorname_np(e) : "?");
	printf("}\n");
	fflush(stdout);
}

static char *slurp(const char *path, size_t *len)
{
	static char buf[1 << 20];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	size_t n = 0;
	ssize_t r;
	while (n < sizeof buf - 1 && (r = read(fd, buf + n, sizeof buf - 1 - n)) > 0)
		n += (size_t)r;
	int e = errno;
	close(fd);
	errno = e;
	if (n == 0 && r < 0)
		return NULL;
	buf[n] = 0;
	*len = n;
	return buf;
}

static void links(const char *key, const char *dir, int skip)
{
	char path[300], target[4096];
	bool first = true;
	DIR *d = opendir(dir);
	printf(",\"%s\":{", key);
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] == '.' || (skip && atoi(e->d_name) == dirfd(d)))
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		ssize_t n = readlink(path, target, sizeof target);
		printf("%s\"%s\":", first ? "" : ",", e->d_name);
		quote(target, n < 0 ? 0 : (size_t)n);
		first = false;
	}
	printf("}");
	if (d)
		closedir(d);
}

static void report(char **envp)
{
	static const char *const files[] = { "status", "mountinfo", "cgroup", "oom_score_adj", "uid_map", "limits" };
	struct utsname u;
	char cwd[4096] = "";
	gid_t groups[64];
	uname(&u);
	begin("report");
	printf(",\"pid\":%d,\"sid\":%d,\"uid\":%u,\"gid\":%u", getpid(), getsid(0), getuid(), getgid());
	int n = getgroups(64, groups);
	printf(",\"groups\":[");
	for (int i = 0; i < n; i++)
		printf("%s%u", i ? "," : "", groups[i]);
	mode_t mask = umask(0);
	umask(mask);
	printf("],\"umask\":%u", mask);
	field("hostname", u.nodename);
	field("domainname", u.domainname);
	field("cwd", getcwd(cwd, sizeof cwd) ? cwd : "");
	printf(",\"env\":[");
	for (char **e = envp; *e; e++) {
		printf("%s", e == envp ? "" : ",");
		quote(*e, strlen(*e));
	}
	printf("]");
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		char path[64];
		size_t len = 0;
		snprintf(path, sizeof path, "/proc/self/%s", files[i]);
		char *text = slurp(path, &len);
		field(files[i], text ? text : "");
	}
	links("ns", "/proc/self/ns", 0);
	links("fds", "/proc/self/fd", 1);
	sigset_t mask_now;
	sigprocmask(SIG_SETMASK, NULL, &mask_now);
	printf(",\"keyring\":%ld", syscall(SYS_keyctl, 0, -3, 0));
	end(true);
}

static void list(const char *path)
{
	DIR *d = opendir(path);
	bool first = true;
	begin("ls");
	field("path", path);
	if (d) {
		printf(",\"names\":[");
		for (struct dirent *e; (e = readdir(d));) {
			if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
				continue;
			printf("%s", first ? "" : ",");
			quote(e->d_name, strlen(e->d_name));
			first = false;
		}
		printf("]");
	}
	end(d != NULL);
	if (d)
		closedir(d);
}

static void show_stat(const char *path)
{
	struct stat st;
	begin("stat");
	field("path", path);
	bool ok = lstat(path, &st) == 0;
	if (ok) {
		char target[4096] = "";
		if (S_ISLNK(st.st_mode) && readlink(path, target, sizeof target - 1) < 0)
			target[0] = 0;
		printf(",\"mode\":%u,\"uid\":%u,\"gid\":%u,\"major\":%u,\"minor\":%u", st.st_mode, st.st_uid, st.st_gid, major(st.st_rdev), minor(st.st_rdev));
		field("target", target);
	}
	end(ok);
}

static void write_file(const char *path, const char *text, int flags)
{
	begin("write");
	field("path", path);
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	end(ok);
	if (fd >= 0)
		close(fd);
}

/* Forks until it fails or `max` children wait; they end with this process. */
static void fork_many(long max)
{
	long n = 0;
	int pipefd[2];
	if (pipe(pipefd) < 0)
		exit(98);
	begin("fork");
	fflush(stdout);
	pid_t pid = 0;
	for (; n < max && (pid = fork()) > 0; n++)
		;
	if (pid == 0 && n < max) {
		char c;
		close(pipefd[1]);
		_exit(read(pipefd[0], &c, 1) < 0);
	}
	int e = errno;
	printf(",\"count\":%ld", n);
	close(pipefd[1]);
	while (wait(NULL) > 0)
		;
	errno = e;
	end(pid >= 0);
}

static void on_signal(int sig)
{
	char text[64];
	int n = snprintf(text, sizeof text, "{\"op\":\"signal\",\"number\":%d,\"ok\":true}\n", sig);
	if (write(1, text, (size_t)n) < 0)
		_exit(97);
	_exit(42);
}

/* A syscall of the i386 ABI with up to three arguments. */
static long int80(long number, long a, long b, long c)
{
	long r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "cc", "r8", "r9", "r10", "r11");
	return (int)r;
}

static void do_syscall(const char *abi)
{
	long number = next_number(), a[3];
	for (int i = 0; i < 3; i++)
		a[i] = next_number();
	begin("syscall");
	field("abi", abi);
	long r;
	if (!strcmp(abi, "i386")) {
		r = int80(number, a[0], a[1], a[2]);
		errno = r < 0 && r > -4096 ? (int)-r : 0;
		r = r < 0 && r > -4096 ? -1 : r;
	} else {
		r = syscall(number | (!strcmp(abi, "x32") ? 0x40000000 : 0), a[0], a[1], a[2]);
	}
	int e = errno;
	printf(",\"number\":%ld,\"result\":%ld", number, r);
	errno = e;
	end(r >= 0);
}

static bool file_operation(const char *op)
{
	if (!strcmp(op, "read")) {
		const char *path = next();
		size_t len = 0;
		char *text = slurp(path, &len);
		int e = errno;
		begin(op);
		field("path", path);
		if (text) {
			printf(",\"text\":");
			quote(text, len);
		}
		errno = e;
		end(text != NULL);
	} else if (!strcmp(op, "write") || !strcmp(op, "create")) {
		const char *path = next();
		write_file(path, next(), *op == 'c' ? O_CREAT : 0);
	} else if (!strcmp(op, "ls")) {
		list(next());
	} else if (!strcmp(op, "stat")) {
		show_stat(next());
	} else if (!strcmp(op, "mkdir") || !strcmp(op, "chdir") || !strcmp(op, "rmdir") || !strcmp(op, "chroot")) {
		const char *path = next();
		begin(op);
		field("path", path);
		end((op[0] == 'm' ? mkdir(path, 0755) : op[0] == 'r' ? rmdir(path) : op[2] == 'd' ? chdir(path) : chroot(path)) == 0);
	} else if (!strcmp(op, "mknod")) {
		const char *path = next();
		long ma = next_number(), mi = next_number();
		begin(op);
		end(mknod(path, S_IFCHR | 0666, makedev((unsigned)ma, (unsigned)mi)) == 0);
	} else if (!strcmp(op, "chown")) {
		const char *path = next();
		long uid = next_number();
		begin(op);
		end(chown(path, (uid_t)uid, (gid_t)uid) == 0);
	} else if (!strcmp(op, "mount")) {
		const char *path = next();
		begin(op);
		end(mount("tmpfs", path, "tmpfs", 0, NULL) == 0);
	} else if (!strcmp(op, "symlink")) {
		const char *target = next(), *path = next();
		begin(op);
		end(symlink(target, path) == 0);
	} else if (!strcmp(op, "send")) {
		struct sockaddr_un to = { .sun_family = AF_UNIX };
		strncpy(to.sun_path, next(), sizeof to.sun_path - 1);
		const char *text = next();
		int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
		begin(op);
		end(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&to, sizeof to) >= 0);
	} else {
		return false;
	}
	return true;
}

static bool process_operation(const char *op)
{
	if (!strcmp(op, "exit")) {
		exit((int)next_number());
	} else if (!strcmp(op, "die")) {
		int sig = (int)next_number();
		pid_t pid = fork();
		if (pid == 0) {
			signal(sig, SIG_DFL);
			kill(getpid(), sig);
			pause();
		}
		int status = 0;
		waitpid(pid, &status, 0);
		printf("{\"op\":\"die\",\"signal\":%d,\"ok\":true}\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	} else if (!strcmp(op, "sleep")) {
		usleep((useconds_t)next_number() * 1000);
	} else if (!strcmp(op, "trap")) {
		signal((int)next_number(), on_signal);
	} else if (!strcmp(op, "ready")) {
		begin(op);
		end(true);
	} else if (!strcmp(op, "wait")) {
		for (;;)
			pause();
	} else if (!strcmp(op, "unshare")) {
		int flag = (int)next_number();
		begin(op);
		end(unshare(flag) == 0);
	} else if (!strcmp(op, "socket")) {
		int family = (int)next_number();
		begin(op);
		printf(",\"family\":%d", family);
		int fd = socket(family, SOCK_DGRAM, 0);
		end(fd >= 0);
		if (fd >= 0)
			close(fd);
	} else if (!strcmp(op, "syscall")) {
		do_syscall(next());
	} else if (!strcmp(op, "alloc")) {
		size_t n = (size_t)next_number();
		begin(op);
		fflush(stdout);
		char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p != MAP_FAILED)
			memset(p, 1, n);
		end(p != MAP_FAILED);
	} else if (!strcmp(op, "fork")) {
		fork_many(next_number());
	} else if (!strcmp(op, "background")) {
		/* A process that outlives this one and keeps no descriptor of it. */
		if (fork() == 0) {
			setsid();
			for (int fd = 0; fd < 3; fd++)
				close(fd);
			for (;;)
				pause();
		}
		begin(op);
		end(true);
	} else if (!strcmp(op, "setuid")) {
		long uid = next_number();
		begin(op);
		end(setuid((uid_t)uid) == 0);
	} else if (!strcmp(op, "spin")) {
		for (;;)
			__asm__ volatile("" ::: "memory");
	} else if (!strcmp(op, "window")) {
		struct winsize w = { 0 };
		bool ok = ioctl(0, TIOCGWINSZ, &w) == 0;
		int e = errno;
		begin(op);
		printf(",\"rows\":%u,\"columns\":%u", w.ws_row, w.ws_col);
		errno = e;
		end(ok);
	} else if (!strcmp(op, "line")) {
		char text[256];
		ssize_t n = read(0, text, sizeof text - 1);
		begin(op);
		field("text", n > 0 ? (text[n - (text[n - 1] == '\n')] = 0, text) : "");
		end(n >= 0);
	} else if (!strcmp(op, "exec")) {
		const char *path = next();
		begin(op);
		fflush(stdout);
		execv(path, (char *[]){ (char *)path, (char *)"report", NULL });
		end(false);
	} else {
		return false;
	}
	return true;
}

int main(int argc, char **argv, char **envp)
{
	(void)argc;
	argp = argv + 1;
	while (*argp) {
		const char *op = *argp++;
		if (!strcmp(op, "report"))
			report(envp);
		else if (!file_operation(op) && !process_operation(op) && !attack_operation(op)) {
			fprintf(stderr, "probe: unknown operation %s\n", op);
			return 99;
		}
	}
	return 0;
}
