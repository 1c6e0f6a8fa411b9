/* The reader of tar archives with pax and GNU headers: what it gives out is bounded, terminated and counted. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/pieces.h"
#include "layer/path.h"
#include "layer/tar.h"

#define MAX_BYTES (1u << 20)
#define MAX_ENTRIES 200

static void check_entry(const struct tar_entry *e)
{
	expect(strnlen(e->path, sizeof e->path) < sizeof e->path && strnlen(e->link, sizeof e->link) < sizeof e->link);
	expect(e->uid != UINT32_MAX && e->gid != UINT32_MAX && !(e->mode & ~07777u));
	expect(e->type == TAR_FILE || e->size == 0);
	expect(e->mtime.tv_nsec >= 0 && e->mtime.tv_nsec < 1000000000);
	expect(e->xattr_count <= LAYER_XATTRS_MAX);
	for (unsigned i = 0; i < e->xattr_count; i++) {
		const struct tar_xattr *x = &e->xattrs[i];
		expect(!strncmp(x->name, "user.", 5) || !strcmp(x->name, "security.capability"));
		expect(strncmp(x->name, "user.overlay.", 13) != 0);
		for (size_t k = 0; k < x->len; k++)
			(void)*(const volatile char *)(x->value + k);
	}
}

static int read_all(struct tar_reader *t, struct tar_entry *e, struct rt_error *err)
{
	uint64_t total = 0, entries = 0;
	int r;
	while ((r = tar_next(t, e, err)) > 0) {
		expect(++entries <= MAX_ENTRIES);
		check_entry(e);
		/* Every second entry's content is left for tar_next to skip. */
		if (entries & 1)
			continue;
		const void *piece;
		size_t len;
		uint64_t got = 0;
		while ((r = tar_read(t, &piece, &len, err)) == 0 && len > 0)
			got += len;
		expect(r < 0 || got == e->size);
		if (r < 0)
			return r;
		total += got;
		expect(total <= MAX_BYTES);
	}
	return r == 0 ? tar_drain(t, err) : r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct layer_limits limits = { MAX_BYTES, MAX_ENTRIES };
	struct rt_error err = { 0 };
	struct pieces p;
	struct tar_reader t;
	struct tar_entry *e = malloc(sizeof *e);
	expect(e != NULL);
	/* Some cut blocks in two, some hold many. */
	pieces_open(&p, data, size, size % 3 == 0 ? 4096 : 1 + size % 1000);
	tar_open(&t, &p.source, &limits);
	int r = read_all(&t, e, &err);
	expect(r == 0 || ((err.code == EPROTO || err.code == EFBIG) && err.text[0]));
	tar_close(&t);
	pieces_close(&p);
	free(e);
	return 0;
}
