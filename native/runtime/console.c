#include "runtime/console.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <termios.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/engine-socket.h"
#include "runtime/mount-api.h"
#include "runtime/rootfs.h"

/* /dev/console is the terminal itself, by descriptor: no name in the image's /dev is trusted (CVE-2025-52565). */
static int bind_console(int rootfs, int terminal, struct rt_error *err)
{
	cleanup_fd int target = target_open(rootfs, "/dev/console", false, TARGET_REFUSE, err);
	if (target < 0)
		return target;
	cleanup_fd int tree = sys_open_tree(terminal, "", AT_EMPTY_PATH | OPEN_TREE_CLONE);
	if (tree < 0 || sys_move_mount(tree, target) < 0)
		return rt_fail_errno(err, "mount /dev/console");
	return 0;
}

static bool keep_line_ends(int terminal)
{
	struct termios t;
	if (tcgetattr(terminal, &t) < 0)
		return false;
	t.c_oflag &= ~(tcflag_t)ONLCR;
	return tcsetattr(terminal, TCSANOW, &t) == 0;
}

int console_make(const struct process_spec *p, int root, int console_socket, struct rt_error *err)
{
	struct statfs fs;
	int unlocked = 0;
	cleanup_fd int master = fs_openat2(root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
	if (master < 0)
		return rt_fail(err, master, "open a terminal");
	if (fstatfs(master, &fs) < 0 || fs.f_type != DEVPTS_SUPER_MAGIC)
		return rt_fail(err, EINVAL, "a terminal needs devpts at /dev/pts");
	if (ioctl(master, TIOCSPTLCK, &unlocked) < 0)
		return rt_fail_errno(err, "unlock the terminal");
	cleanup_fd int terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal < 0)
		return rt_fail_errno(err, "open the terminal");
	struct winsize size = { .ws_row = (unsigned short)p->console_height, .ws_col = (unsigned short)p->console_width };
	if (size.ws_row && size.ws_col && ioctl(master, TIOCSWINSZ, &size) < 0)
		return rt_fail_errno(err, "size the terminal");
	if (p->console_bare && !keep_line_ends(terminal))
		return rt_fail_errno(err, "set the terminal up");
	if (fchown(terminal, p->uid, (gid_t)-1) < 0)
		return rt_fail_errno(err, "own the terminal");
	int r = engine_send(console_socket, master, "/dev/ptmx", "terminal", err);
	return r < 0 ? r : take_fd(&terminal);
}

int console_adopt(int terminal, struct rt_error *err)
{
	if (ioctl(terminal, TIOCSCTTY, 0) < 0)
		return rt_fail_errno(err, "control the terminal");
	for (int fd = 0; fd < 3; fd++) {
		if (dup2(terminal, fd) < 0)
			return rt_fail_errno(err, "use the terminal");
	}
	return 0;
}

int console_open(const struct process_spec *p, int rootfs, int console_socket, struct rt_error *err)
{
	cleanup_fd int terminal = console_make(p, rootfs, console_socket, err);
	if (terminal < 0)
		return terminal;
	int r = bind_console(rootfs, terminal, err);
	return r < 0 ? r : console_adopt(terminal, err);
}
