#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/scope.h"
#include "runtime/limits.h"

/* Seven instructions a rule at most, and the verifier's limit for older kernels' unprivileged programs does not bind us. */
#define MAX_RULES 512
#define PER_RULE 7
#define AROUND 7
#define MAX_ATTACHED 64 /* the kernel's own limit */

enum { R0, R1, R_ACCESS, R_TYPE, R_MAJOR, R_MINOR, R_SCRATCH };

struct program {
	struct bpf_insn code[MAX_RULES * PER_RULE + AROUND];
	int length;
};

static void add(struct program *p, unsigned char code, unsigned char dst, unsigned char src, short off, int imm)
{
	p->code[p->length++] = (struct bpf_insn){ .code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm };
}

static int access_bits(const char *access)
{
	return (strchr(access, 'r') ? BPF_DEVCG_ACC_READ : 0) | (strchr(access, 'w') ? BPF_DEVCG_ACC_WRITE : 0) | (strchr(access, 'm') ? BPF_DEVCG_ACC_MKNOD : 0);
}

/*
 * "Is it this rule's business, then its verdict, else on to the next." An allow rule covers a request whose every access it
 * names; a deny rule one that has any access it names. False when the rule covers everything: nothing may follow it, since
 * the verifier refuses code that cannot be reached.
 */
static bool add_rule(struct program *p, const struct device_rule *d)
{
	int checks[4], count = 0, access = access_bits(d->access);
	if (d->type != 'a') {
		checks[count++] = p->length;
		add(p, BPF_JMP32 | BPF_JNE | BPF_K, R_TYPE, 0, 0, d->type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK);
	}
	if (access != 7) {
		add(p, BPF_ALU | BPF_MOV | BPF_X, R_SCRATCH, R_ACCESS, 0, 0);
		add(p, BPF_ALU | BPF_AND | BPF_K, R_SCRATCH, 0, 0, d->allow ? ~access : access);
		checks[count++] = p->length;
		add(p, BPF_JMP32 | (d->allow ? BPF_JNE : BPF_JEQ) | BPF_K, R_SCRATCH, 0, 0, 0);
	}
	if (d->type != 'a' && d->major >= 0) {
		checks[count++] = p->length;
		add(p, BPF_JMP32 | BPF_JNE | BPF_K, R_MAJOR, 0, 0, (int)d->major);
	}
	if (d->type != 'a' && d->minor >= 0) {
		checks[count++] = p->length;
		add(p, BPF_JMP32 | BPF_JNE | BPF_K, R_MINOR, 0, 0, (int)d->minor);
	}
	add(p, BPF_ALU | BPF_MOV | BPF_K, R0, 0, 0, d->allow);
	add(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	for (int i = 0; i < count; i++)
		p->code[checks[i]].off = (short)(p->length - checks[i] - 1);
	return count > 0;
}

static void assemble(struct program *p, const struct resources *o)
{
	add(p, BPF_LDX | BPF_MEM | BPF_W, R_ACCESS, R1, offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	add(p, BPF_ALU | BPF_MOV | BPF_X, R_TYPE, R_ACCESS, 0, 0);
	add(p, BPF_ALU | BPF_AND | BPF_K, R_TYPE, 0, 0, 0xffff);
	add(p, BPF_ALU | BPF_RSH | BPF_K, R_ACCESS, 0, 0, 16);
	add(p, BPF_LDX | BPF_MEM | BPF_W, R_MAJOR, R1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	add(p, BPF_LDX | BPF_MEM | BPF_W, R_MINOR, R1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
	/* On v1 the last rule written wins, so here the last comes first. */
	for (size_t i = DEFAULT_DEVICE_RULES; i-- > 0;)
		add_rule(p, &default_device_rules[i]);
	for (size_t i = o->device_count; i-- > 0;) {
		if (!add_rule(p, &o->devices[i]))
			return;
	}
	/* Rules change what a cgroup starts with, and that is everything. */
	add(p, BPF_ALU | BPF_MOV | BPF_K, R0, 0, 0, 1);
	add(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* The programs that are attached here already; returns how many. */
static unsigned attached(int cgroup_fd, uint32_t ids[MAX_ATTACHED])
{
	union bpf_attr query = { 0 };
	query.query.target_fd = (unsigned)cgroup_fd;
	query.query.attach_type = BPF_CGROUP_DEVICE;
	query.query.prog_ids = (unsigned long)ids;
	query.query.prog_cnt = MAX_ATTACHED;
	return syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof query) < 0 ? 0 : query.query.prog_cnt;
}

static int detach(int cgroup_fd, uint32_t id, struct rt_error *err)
{
	union bpf_attr get = { .prog_id = id }, detach = { 0 };
	cleanup_fd int prog = (int)syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &get, sizeof get);
	detach.target_fd = (unsigned)cgroup_fd;
	detach.attach_bpf_fd = (unsigned)prog;
	detach.attach_type = BPF_CGROUP_DEVICE;
	if (prog < 0 || syscall(SYS_bpf, BPF_PROG_DETACH, &detach, sizeof detach) < 0)
		return rt_fail_errno(err, "restrict devices: remove the older rules");
	return 0;
}

int devices_attach_bpf(const struct resources *o, int cgroup_fd, struct rt_error *err)
{
	uint32_t older[MAX_ATTACHED] = { 0 };
	if (o->device_count + DEFAULT_DEVICE_RULES > MAX_RULES)
		return rt_fail(err, E2BIG, "config.json: too many device rules");
	unsigned count = attached(cgroup_fd, older);
	cleanup_free struct program *p = calloc(1, sizeof *p);
	if (!p)
		return rt_fail(err, ENOMEM, "restrict devices");
	assemble(p, o);
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insns = (unsigned long)p->code, .insn_cnt = (unsigned)p->length, .license = (unsigned long)"Apache-2.0",
	};
	cleanup_fd int prog = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
	if (prog < 0)
		return rt_fail_errno(err, "restrict devices: load a BPF program");
	union bpf_attr attach = { 0 };
	attach.target_fd = (unsigned)cgroup_fd;
	attach.attach_bpf_fd = (unsigned)prog;
	attach.attach_type = BPF_CGROUP_DEVICE;
	attach.attach_flags = BPF_F_ALLOW_MULTI;
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach) < 0)
		return rt_fail_errno(err, "restrict devices: attach a BPF program");
	/* Until they are gone both rule: what is open in between is what both allow. */
	int r = 0;
	for (unsigned i = 0; r == 0 && i < count; i++)
		r = detach(cgroup_fd, older[i], err);
	return r;
}
