/*
 * The names of a layer in memory: what stands where, and which inode it is. The twin of tree.h without a disk: paths mean here what they mean
 * there, with every symbolic link of the layer's own making resolved within the layer.
 *
 * About 60 bytes and its name for each entry. Ids are indices; the root is 0.
 */
#ifndef BERTH_LAYER_NAMES_H
#define BERTH_LAYER_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "layer/erofs-inode.h"

#define NAMES_NONE UINT32_MAX
#define NAMES_ROOT 0u
#define NAMES_BYTES_MAX (128u << 20)  /* of all names and link targets */
#define NAMES_XATTRS_MAX (16u << 20) /* of all directories' attributes */

enum name_kind { NAME_FILE, NAME_DIRECTORY, NAME_SYMLINK, NAME_FIFO, NAME_WHITEOUT };

struct name {
	uint32_t parent, next; /* the next in the same directory */
	uint32_t chain;        /* the next in the same bucket of the index */
	uint32_t text;
	uint32_t inode;
	uint8_t len;
	uint8_t kind;          /* enum name_kind */
	bool gone;             /* taken out again, or under what was */
};

struct name_inode {
	uint64_t at;     /* byte address in the image, once placed */
	uint32_t nlink;
	uint32_t detail; /* a directory's number, or where a link's target stands */
};

struct name_directory {
	uint32_t name, first; /* its own name, and the first in it */
	uint32_t first_block;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	struct timespec mtime;
	struct inode_xattrs xattrs;
	uint64_t size;
};

struct names {
	struct name *all;
	struct name_inode *inodes;
	struct name_directory *directories;
	char *texts;
	uint32_t *buckets;
	uint32_t count, inode_count, directory_count, text_bytes, bucket_count;
	uint32_t capacity, inode_capacity, directory_capacity, text_capacity;
	uint32_t max;
	uint64_t xattr_bytes;
	uint64_t seed;
	uint64_t implied; /* directories that no entry asked for */
	uint32_t last_parent;
	char last_path[LAYER_PATH_MAX];
};

/* At most `max` names beside the root. */
must_check int names_open(struct names *n, uint64_t max, struct rt_error *err);
void names_close(struct names *n);

/* The text of a name, not NUL-terminated. */
const char *names_text(const struct names *n, uint32_t id);

/* The name in a directory, or NAMES_NONE. */
uint32_t names_find(const struct names *n, uint32_t directory, const char *base);

/* The directory of a normal path, links followed within the layer. NAMES_NONE when it is no directory of this layer. */
uint32_t names_resolve(const struct names *n, const char *path);

/* The directory that holds `path`, made with its own parents (0755, root's) where the layer left them out. EPROTO when a parent is no directory. */
must_check int names_parent(struct names *n, const char *path, uint32_t *directory, const char **base, struct rt_error *err);

/* Adds a name that is not there. With inode NAMES_NONE it gets one of its own, with one link. */
must_check int names_add(struct names *n, uint32_t directory, const char *base, enum name_kind kind, uint32_t inode, uint32_t *out, struct rt_error *err);

/* Keeps a symbolic link's target, for paths that lead through it. */
must_check int names_set_target(struct names *n, uint32_t id, const char *target, struct rt_error *err);

/* Takes out a name and all beneath it. */
void names_clear(struct names *n, uint32_t id);

/* Makes a directory, or finds the one there is; one in a whiteout's place hides the lower layers' as the whiteout did. Anything else is replaced. */
must_check int names_mkdir(struct names *n, uint32_t directory, const char *base, uint32_t *out, struct rt_error *err);

/* Hides the lower layers' file of that name; what this layer itself put there stays. */
must_check int names_whiteout(struct names *n, uint32_t directory, const char *base, struct rt_error *err);

/* Adds to a directory's attributes. */
must_check int names_add_xattrs(struct names *n, uint32_t id, const struct tar_xattr *more, unsigned count, struct rt_error *err);

/* Hides all that lower layers have in a directory. */
must_check int names_set_opaque(struct names *n, uint32_t id, struct rt_error *err);

static inline struct name_directory *names_directory(const struct names *n, uint32_t id)
{
	return &n->directories[n->inodes[n->all[id].inode].detail];
}

#endif
