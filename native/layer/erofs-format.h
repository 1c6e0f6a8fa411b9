/*
 * EROFS on disk (Linux, Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h), as far as an image of Berth's uses it: uncompressed, blocks of
 * 4 KiB, extended inodes only. Numbers are little-endian.
 *
 * An inode is named by where it stands: its byte address in units of 32. Extended attributes follow it, and then the end of its content that fills no
 * block, where the two fit one block together.
 */
#ifndef BERTH_LAYER_EROFS_FORMAT_H
#define BERTH_LAYER_EROFS_FORMAT_H

#include <stdint.h>

#define EROFS_BLOCK 4096u
#define EROFS_BLOCK_BITS 12
#define EROFS_SLOT 32u /* inodes stand at multiples of it */
#define EROFS_MAGIC 0xe0f5e1e2u
#define EROFS_SUPER_AT 1024u
#define EROFS_COMPAT_CHECKSUM 1u
#define EROFS_COMPAT_MTIME 2u
#define EROFS_NO_BLOCK 0xffffffffu

struct erofs_super {
	uint32_t magic;
	uint32_t checksum; /* crc32c from here to the block's end, itself taken as 0 */
	uint32_t feature_compat;
	uint8_t block_bits;
	uint8_t extra_slots;
	uint16_t root;
	uint64_t inodes;
	uint64_t build_time;
	uint32_t build_time_nsec;
	uint32_t blocks;
	uint32_t meta_block;
	uint32_t xattr_block;
	uint8_t uuid[16];
	uint8_t volume_name[16];
	uint32_t feature_incompat;
	uint8_t reserved[44];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_super) == 128, "the superblock's length");

enum erofs_layout { EROFS_PLAIN = 0, EROFS_INLINE = 2 };
#define EROFS_FORMAT(layout) ((uint16_t)(1 | (layout) << 1))

struct erofs_inode {
	uint16_t format;
	uint16_t xattr_count; /* 0, or 1 and the words of 4 bytes after the attributes' header */
	uint16_t mode;
	uint16_t reserved;
	uint64_t size;
	uint32_t first_block; /* or the device's number */
	uint32_t number;
	uint32_t uid, gid;
	uint64_t mtime;
	uint32_t mtime_nsec;
	uint32_t nlink;
	uint8_t reserved2[16];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_inode) == 64, "an extended inode's length");

#define EROFS_XATTR_HEADER 12u /* a name filter, the count of shared attributes, and reserved bytes; all zero here */

struct erofs_xattr {
	uint8_t name_len;
	uint8_t name_index; /* of the prefix that the name stands without */
	uint16_t value_len;
	char name_and_value[];
} __attribute__((packed));

enum { EROFS_XATTR_USER = 1, EROFS_XATTR_TRUSTED = 4, EROFS_XATTR_SECURITY = 6 };

struct erofs_dirent {
	uint64_t inode;
	uint16_t name_at; /* within the block; the first entry's tells how many entries there are */
	uint8_t type;
	uint8_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_dirent) == 12, "a directory entry's length");

enum { EROFS_FT_FILE = 1, EROFS_FT_DIRECTORY = 2, EROFS_FT_CHARACTER = 3, EROFS_FT_FIFO = 5, EROFS_FT_SYMLINK = 7 };

#endif
