/* The container's first process, from clone to exec. See sync.h for what it says to the runtime. */
#ifndef BERTH_RUNTIME_INIT_H
#define BERTH_RUNTIME_INIT_H

#include "runtime/prepare.h"
#include "runtime/seccomp.h"
#include "runtime/state.h"

/* Where init waits for a claim (`park`), which says what it is to run. */
enum init_park {
	PARK_NOT,
	PARK_BARE, /* with its namespaces and cgroup, and nothing of a file system */
	PARK_ROOT, /* in its root file system, the seccomp filter loaded */
};

struct init_args {
	const struct config *config;
	struct prepared *prepared;
	const struct cgroups *cgroups;
	int ns_fds[NS_KINDS];               /* namespaces to join; -1 */
	const struct seccomp_filter *filter; /* NULL: none */
	const struct state *state;          /* for hooks */
	int state_dir;                      /* the runtime's; closed at once */
	int console_socket;                 /* where the terminal goes; -1 */
	int sync_fd;
	int start_fd;                       /* listening socket on which `start` calls; -1: READY is answered by GO */
	bool keep_keyring;                  /* stay in the caller's session keyring */
	bool goes_on_early;                 /* the first GO need not be here before the file system is built: set by spawn_init */
	bool asks_to_exec;                  /* READY and another GO (or `start`) come before the exec, and the runtime sets the rlimits */
	enum init_park park;
	int claim_fd;                       /* the runtime's, of `park`; closed at once; -1 */
	int preserve_fds;                   /* descriptors from 3 that the program keeps */
};

/* Never returns: becomes the program, or reports why not and exits. */
_Noreturn void init_main(struct init_args *a);

#endif
