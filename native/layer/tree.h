/*
 * The tree that a layer becomes, and the only way into it.
 *
 * Every path is resolved by the kernel beneath a held descriptor (openat2 with RESOLVE_IN_ROOT), so neither "..", nor an absolute path, nor a
 * symbolic link of the layer's own making leads out of it. Names are normal (path.h).
 */
#ifndef BERTH_LAYER_TREE_H
#define BERTH_LAYER_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "layer/limits.h"

struct tree {
	int root;                    /* not owned */
	int parent;                  /* the directory last used, -1: none; what is removed lies in it, so never on the way to it */
	char parent_path[LAYER_PATH_MAX];
	uint64_t implied;            /* directories made that no entry asked for */
};

/* What stands at a name. A whiteout is overlay's: a 0/0 character device, the only device that a tree ever holds. */
enum tree_kind { TREE_NONE, TREE_DIRECTORY, TREE_WHITEOUT, TREE_OTHER };

void tree_init(struct tree *t, int root);
void tree_close(struct tree *t);

/*
 * The directory that holds `path`, made with its own parents (0755, root's) where the layer left them out. The descriptor stays the tree's and is valid until
 * the next call. EPROTO when a parent is no directory.
 */
must_check int tree_parent(struct tree *t, const char *path, int *dirfd, const char **base, struct rt_error *err);

/* Opens an existing directory of the tree; links on the way are followed within it, one at its end only with `follow`. EPROTO when it is none. */
must_check int tree_open_dir(struct tree *t, const char *path, bool follow, int *out, struct rt_error *err);

must_check int tree_kind(int dirfd, const char *base, enum tree_kind *out, struct rt_error *err);

/* Removes what stands at a name, a directory with all that is in it. */
must_check int tree_clear(int dirfd, const char *base, struct rt_error *err);

/* Makes a directory, or keeps the one there is; one that takes a whiteout's place hides the lower layers' as the whiteout did. Anything else is replaced. */
must_check int tree_mkdir(int dirfd, const char *base, int *out, struct rt_error *err);

/* Hides the lower layers' file of that name; what this layer itself put there stays, since a whiteout speaks only of lower layers. */
must_check int tree_whiteout(int dirfd, const char *base, struct rt_error *err);

/* Hides everything that lower layers have in an open directory. */
must_check int tree_set_opaque(int dirfd, struct rt_error *err);

#endif
