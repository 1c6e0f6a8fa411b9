/*
 * Names of users and groups, looked up in a container's own /etc/passwd and /etc/group (passwd(5), group(5)).
 *
 * The files are an image's: hostile. They are opened below the container's root (links stay inside, no magic links), must be
 * regular files of at most USER_FILE_MAX bytes, and a line counts only when its ids are plain decimal numbers that name
 * somebody: an id that wraps, overflows or is absent matches nobody.
 */
#ifndef BERTH_RUNTIME_USER_H
#define BERTH_RUNTIME_USER_H

#include "runtime/config.h"

#define USER_FILE_MAX (1u << 20)
#define USER_MAX_GROUPS 1024

/*
 * Sets uid, gid and groups of c->process from "USER" or "USER:GROUP". A numeric USER without a group leaves gid and groups as they are; a
 * name brings its own group and those it is a member of. `root` is a descriptor of the container's root directory, needed
 * (else -1) only for names. EINVAL when there is no such user or group.
 */
must_check int user_resolve(struct config *c, const char *text, int root, struct rt_error *err);

/* Whether the text names somebody rather than giving ids alone. */
bool user_has_names(const char *text);

/* Name of a user in the text of a passwd file; false when it has none. */
bool user_name(const char *passwd, uint32_t uid, char *out, size_t size);

/*
 * Home directory of a user by the passwd file below `root` (AT_FDCWD: in this process's own), when the file is sane and gives an absolute
 * path; else *out stays as it is.
 */
void user_home(int root, uint32_t uid, char *out, size_t size);

/* A plain decimal id that names somebody, of len bytes. */
bool user_parse_id(const char *text, size_t len, uint32_t *out);

#endif
