/*
 * A whole layer, unpacked into a scratch tree and packed into an image: nothing outside the tree changes, nothing in it speaks to overlayfs or opens a device,
 * and both ways take the same archives. Needs root.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fuzz/pieces.h"
#include "layer/pack.h"
#include "layer/unpack.h"
#include "layer/walk.h"

#define MAX_BYTES (1u << 20)
#define MAX_ENTRIES 100

static const char sentinel[] = "untouched";

/* Beside the layer: what a step outside would find first. */
static void make_surroundings(int dir)
{
	int made = mkdirat(dir, "outside", 0700);
	expect(made == 0 || errno == EEXIST);
	int outside = openat(dir, "outside", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fuzz_write(outside, "secret", sentinel, sizeof sentinel);
	close(outside);
	fuzz_write(dir, "beside", sentinel, sizeof sentinel);
}

static void check_surroundings(int dir)
{
	struct stat st;
	static const char *const files[] = { "beside", "outside/secret" };
	for (size_t i = 0; i < 2; i++) {
		char text[sizeof sentinel + 1];
		int fd = openat(dir, files[i], O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		expect(fd >= 0 && read(fd, text, sizeof text) == (ssize_t)sizeof sentinel && !memcmp(text, sentinel, sizeof sentinel));
		expect(fstat(fd, &st) == 0 && st.st_nlink == 1 && st.st_uid == 0 && (st.st_mode & 07777) == 0600);
		close(fd);
	}
	struct walk_usage usage = { 0 };
	struct rt_error err = { 0 };
	/* itself, "outside", two files */
	expect(walk_measure(dir, ".", &usage, &err) == 0 && usage.inodes == 4);
}

static int check_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)type;
	const char *base = path + at->base;
	char names[4096];
	expect(!S_ISBLK(st->st_mode) && !S_ISSOCK(st->st_mode));
	expect(!S_ISCHR(st->st_mode) || st->st_rdev == makedev(0, 0));
	if (!S_ISDIR(st->st_mode) && !S_ISREG(st->st_mode))
		return 0;
	ssize_t n = llistxattr(base, names, sizeof names);
	for (ssize_t i = 0; i < n; i += (ssize_t)strlen(names + i) + 1) {
		const char *name = names + i;
		bool opaque = !strcmp(name, "trusted.overlay.opaque") && S_ISDIR(st->st_mode);
		expect(opaque || !strncmp(name, "user.", 5) || !strcmp(name, "security.capability"));
		expect(strncmp(name, "user.overlay.", 13) != 0);
	}
	return 0;
}

/* What the layer is to blame for is EPROTO or EFBIG; the rest is what a machine may lack. */
static bool is_known(int code)
{
	return code == EPROTO || code == EFBIG || code == EOPNOTSUPP || code == ENOSPC || code == EDQUOT;
}

/* Each has limits of its own besides: names that a directory's file system bears, attributes that an inode holds. */
static bool is_comparable(int code)
{
	return code == 0 || code == EPROTO;
}

static int pack(const uint8_t *data, size_t size, const struct layer_limits *limits, struct pack_result *out, struct rt_error *err)
{
	struct pieces p;
	int image = memfd_create("image", MFD_CLOEXEC);
	expect(image >= 0);
	pieces_open(&p, data, size, 1 + size % 5000);
	int r = pack_layer(&p.source, image, limits, out, err);
	pieces_close(&p);
	close(image);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int dir = -1;
	const struct layer_limits limits = { MAX_BYTES, MAX_ENTRIES };
	struct rt_error err = { 0 }, removing = { 0 };
	struct unpack_result result;
	struct pack_result packed;
	struct rt_error packing = { 0 };
	struct pieces p;
	if (dir < 0) {
		dir = fuzz_directory();
		make_surroundings(dir);
		expect(fchdir(dir) == 0);
	}
	expect(mkdirat(dir, "layer", 0755) == 0);
	int layer = openat(dir, "layer", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	expect(layer >= 0);
	pieces_open(&p, data, size, 4096);
	int r = unpack_layer(&p.source, layer, &limits, &result, &err);
	pieces_close(&p);
	if (r < 0)
		expect(is_known(err.code) && err.text[0]);
	else
		expect(result.entries <= MAX_ENTRIES);
	int same = pack(data, size, &limits, &packed, &packing);
	if (is_comparable(err.code) && is_comparable(packing.code))
		expect(r == same);
	if (r == 0 && same == 0)
		expect(result.entries == packed.entries);
	close(layer);
	expect(nftw("layer", check_file, 16, FTW_PHYS | FTW_MOUNT | FTW_CHDIR) == 0);
	expect(fchdir(dir) == 0);
	expect(walk_remove(dir, "layer", &removing) == 0);
	check_surroundings(dir);
	return 0;
}
