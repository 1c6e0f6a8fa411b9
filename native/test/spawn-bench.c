/*
 * Times commands from fork to reaped, alternating between them, for benchmarks.
 *
 *   spawn-bench ITERATIONS PACE_MS SEED NAME ARGV... [-- NAME ARGV...]...
 *
 * `{}` in an argument becomes a text that is unique in each iteration. With PACE_MS over 0 each start waits for an exponentially
 * distributed time of that mean (Poisson arrivals): tight loops hide what a cold cache costs. The command "floor" is built in: clone3 with the seven
 * namespaces of a container, execve of ARGV, waitpid; below it nobody gets. Standard output of the commands goes to /dev/null.
 *
 * Prints one JSON line a command: {"name","samplesUs":[...],"maxRssKiB","failures"}.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_COMMANDS 8
#define MAX_ARGS 64
#define FAILURES_SHOWN 3

extern char **environ;

struct command {
	const char *name;
	char *argv[MAX_ARGS];
	double *us;
	int samples, failures;
	long max_rss_kib;
};

static double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static uint64_t random_state;

/* xorshift64*: repeatable for a seed. */
static double random_unit(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return ((double)((random_state * 2685821657736338717ull) >> 11) + 0.5) / 9007199254740992.0;
}

/* An exponentially distributed time, as the geometric number of short steps that it is the limit of. */
static double random_wait_us(double mean_us)
{
	const double step_us = 20;
	double waited = 0;
	while (random_unit() > step_us / mean_us)
		waited += step_us;
	return waited;
}

static void sleep_us(double us)
{
	struct timespec t = { (time_t)(us / 1e6), (long)((us - (double)(time_t)(us / 1e6) * 1e6) * 1e3) };
	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

static pid_t start_floor(char **argv)
{
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP | CLONE_NEWNET | CLONE_NEWUSER,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0) {
		execve(argv[0], argv, environ);
		_exit(127);
	}
	return pid;
}

static pid_t start(const struct command *c, char **argv, posix_spawn_file_actions_t *actions)
{
	if (!strcmp(c->name, "floor"))
		return start_floor(argv);
	pid_t pid;
	return posix_spawnp(&pid, argv[0], actions, NULL, argv, environ) == 0 ? pid : -1;
}

static void measure(struct command *c, int iteration, posix_spawn_file_actions_t *actions)
{
	static char ids[MAX_ARGS][256];
	char *argv[MAX_ARGS];
	int n = 0;
	for (; c->argv[n]; n++) {
		const char *mark = strstr(c->argv[n], "{}");
		argv[n] = c->argv[n];
		if (mark) {
			snprintf(ids[n], sizeof ids[n], "%.*sb%d-%d%s", (int)(mark - c->argv[n]), c->argv[n], getpid(), iteration, mark + 2);
			argv[n] = ids[n];
		}
	}
	argv[n] = NULL;
	struct rusage usage;
	int status;
	double begin = now_us();
	pid_t pid = start(c, argv, actions);
	if (pid < 0 || wait4(pid, &status, 0, &usage) != pid || status != 0) {
		if (c->failures++ < FAILURES_SHOWN)
			fprintf(stderr, "%s failed in iteration %d\n", c->name, iteration);
		return;
	}
	c->us[c->samples++] = now_us() - begin;
	if (usage.ru_maxrss > c->max_rss_kib)
		c->max_rss_kib = usage.ru_maxrss;
}

static void print_command(const struct command *c)
{
	printf("{\"name\":\"%s\",\"maxRssKiB\":%ld,\"failures\":%d,\"samplesUs\":[", c->name, c->max_rss_kib, c->failures);
	for (int i = 0; i < c->samples; i++)
		printf("%s%.1f", i ? "," : "", c->us[i]);
	printf("]}\n");
}

int main(int argc, char **argv)
{
	struct command commands[MAX_COMMANDS] = { 0 };
	int count = 0;
	if (argc < 6) {
		fprintf(stderr, "usage: spawn-bench ITERATIONS PACE_MS SEED NAME ARGV... [-- NAME ARGV...]...\n");
		return 2;
	}
	int iterations = atoi(argv[1]);
	double pace_us = atof(argv[2]) * 1e3;
	random_state = strtoull(argv[3], NULL, 10) | 1;
	for (int i = 4; i < argc && count < MAX_COMMANDS; count++, i++) {
		struct command *c = &commands[count];
		c->name = argv[i++];
		c->us = calloc((size_t)iterations, sizeof *c->us);
		if (!c->us)
			return 1;
		for (int n = 0; i < argc && strcmp(argv[i], "--") && n < MAX_ARGS - 1; i++)
			c->argv[n++] = argv[i];
	}
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	for (int i = 0; i < iterations; i++) {
		for (int c = 0; c < count; c++) {
			if (pace_us > 0)
				sleep_us(random_wait_us(pace_us));
			measure(&commands[c], i, &actions);
		}
	}
	for (int c = 0; c < count; c++)
		print_command(&commands[c]);
	return 0;
}
