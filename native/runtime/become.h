/* Steps by which a process of the runtime turns into one of the container; each is irreversible. Used by init and by exec. */
#ifndef BERTH_RUNTIME_BECOME_H
#define BERTH_RUNTIME_BECOME_H

#include "runtime/config.h"
#include "runtime/seccomp.h"

/* Unblocks all signals: handlers fell away with CLONE_CLEAR_SIGHAND, the mask did not. */
must_check int become_reset_signals(struct rt_error *err);

/* Root of the user namespace, if the container has one, so that whatever is made from here on belongs to it. */
must_check int become_root(const struct config *c, struct rt_error *err);

/* A session keyring of its own: else the host session's keys would be the container's. */
must_check int become_join_keyring(struct rt_error *err);

/*
 * Moves the runtime's own descriptors (`own`, ended by NULL; -1 is skipped) above those that the program keeps, and closes all
 * others. From here on no descriptor leads to anything but sockets: a working directory of /proc/self/fd/N finds nothing
 * (CVE-2024-21626).
 */
must_check int become_close_others(int *const *own, int preserve_fds, struct rt_error *err);

/*
 * p->cwd, entered with the rights of the container's root, or else with the user's (EPERM when it leads outside the container);
 * the bounding set, the user with its groups and umask, exactly the capabilities asked for, no_new_privs. For a filter (or
 * NULL) that needs CAP_SYS_ADMIN to be loaded, that one stays permitted, though not effective, until become_filtered.
 */
must_check int become_user_in_cwd(const struct process_spec *p, const struct seccomp_filter *filter, struct rt_error *err);

/*
 * Without no_new_privs: loads the filter and gives up the capability for it. It comes after all that needs the file system, so
 * that an old list of calls, which lacks what this program uses, bars none of its own work but the last words and the exec.
 * With no_new_privs, or without a filter, it does nothing; the caller loads that filter right before the exec.
 */
must_check int become_filtered(const struct process_spec *p, const struct seccomp_filter *filter, struct rt_error *err);

/* The personality that the config asks for; it is inherited, and a filter may bar the change later. */
must_check int become_personality(const struct config *c, struct rt_error *err);

#endif
