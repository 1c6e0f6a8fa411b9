#include "runtime/caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/log.h"

static const char *const names[] = {
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
	"NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
	"SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
	"AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
	"PERFMON", "BPF", "CHECKPOINT_RESTORE",
};
#define CAP_COUNT ((int)(sizeof names / sizeof *names))
#define ADMIN (UINT32_C(1) << CAP_SYS_ADMIN)

const char *cap_name(int number)
{
	return number >= 0 && number < CAP_COUNT ? names[number] : NULL;
}

int cap_from_name(const char *name)
{
	if (strncmp(name, "CAP_", 4))
		return -1;
	for (int i = 0; i < CAP_COUNT; i++) {
		if (!strcmp(names[i], name + 4))
			return i;
	}
	return -1;
}

void caps_warn(const struct process_spec *p)
{
	uint64_t asked = 0;
	for (int s = 0; s < CAPSETS; s++)
		asked |= p->caps[s];
	for (unsigned long c = 0; c < CAP_COUNT; c++) {
		if ((asked & (UINT64_C(1) << c)) && prctl(PR_CAPBSET_READ, c, 0, 0, 0) != 1)
			log_warning("capability CAP_%s cannot be given: the runtime lacks it", names[c]);
	}
}

int caps_apply_bounding(const struct process_spec *p, struct rt_error *err)
{
	uint64_t keep = p->has_capabilities ? p->caps[CAPSET_BOUNDING] : 0;
	/* Also numbers that this program has no name for: up to the first one the kernel does not know. */
	for (unsigned long c = 0; c < 64; c++) {
		if ((keep & (UINT64_C(1) << c)) || prctl(PR_CAPBSET_DROP, c, 0, 0, 0) == 0)
			continue;
		if (errno == EINVAL)
			return 0;
		/* Who has no right to drop it may not have had it. */
		int code = errno;
		if (prctl(PR_CAPBSET_READ, c, 0, 0, 0) != 0)
			return rt_fail(err, code, "drop capability %lu", c);
	}
	return 0;
}

static int set_ambient(uint64_t ambient, struct rt_error *err)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return rt_fail_errno(err, "clear ambient capabilities");
	for (unsigned long c = 0; c < 64; c++) {
		if ((ambient & (UINT64_C(1) << c)) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) < 0)
			return rt_fail_errno(err, "raise ambient capability %lu", c);
	}
	return 0;
}

static int get(struct __user_cap_data_struct data[2], struct rt_error *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	return syscall(SYS_capget, &head, data) < 0 ? rt_fail_errno(err, "read capabilities") : 0;
}

static int set(const struct __user_cap_data_struct data[2], struct rt_error *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	return syscall(SYS_capset, &head, data) < 0 ? rt_fail_errno(err, "set capabilities") : 0;
}

int caps_apply_sets(const struct process_spec *p, bool keep_admin, struct rt_error *err)
{
	struct __user_cap_data_struct data[2];
	int r = get(data, err);
	if (r < 0)
		return r;
	uint64_t have = (uint64_t)data[1].permitted << 32 | data[0].permitted, give[CAPSETS];
	for (int s = 0; s < CAPSETS; s++)
		give[s] = p->caps[s] & have;
	if (keep_admin)
		give[CAPSET_PERMITTED] |= have & ADMIN;
	for (int i = 0; i < 2; i++) {
		data[i] = (struct __user_cap_data_struct){
			.effective = (uint32_t)(give[CAPSET_EFFECTIVE] >> (32 * i)),
			.permitted = (uint32_t)(give[CAPSET_PERMITTED] >> (32 * i)),
			.inheritable = (uint32_t)(give[CAPSET_INHERITABLE] >> (32 * i)),
		};
	}
	return (r = set(data, err)) < 0 ? r : set_ambient(give[CAPSET_AMBIENT], err);
}

int caps_raise_admin(struct rt_error *err)
{
	struct __user_cap_data_struct data[2];
	int r = get(data, err);
	if (r < 0)
		return r;
	data[0].effective |= data[0].permitted & ADMIN;
	return set(data, err);
}

int caps_lower_admin(const struct process_spec *p, struct rt_error *err)
{
	struct __user_cap_data_struct data[2];
	int r = get(data, err);
	if (r < 0)
		return r;
	data[0].effective &= ~ADMIN | (uint32_t)p->caps[CAPSET_EFFECTIVE];
	data[0].permitted &= ~ADMIN | (uint32_t)p->caps[CAPSET_PERMITTED];
	return set(data, err);
}
