#include "layer/tar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/scope.h"
#include "layer/pax.h"

#define BLOCK 512u

/* POSIX ustar; GNU's own format differs behind `magic`, where only `prefix` would matter here. */
struct header {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char checksum[8];
	char type;
	char link[100];
	char magic[6];
	char version[2];
	char uname[32];
	char gname[32];
	char major[8];
	char minor[8];
	char prefix[155];
	char rest[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a tar header is one block");

void tar_open(struct tar_reader *t, const struct byte_source *from, const struct layer_limits *limits)
{
	*t = (struct tar_reader){ .from = *from, .limits = *limits };
}

void tar_close(struct tar_reader *t)
{
	free(t->extension);
}

/* Makes at least one byte available unless the input has ended. */
static int fill(struct tar_reader *t, struct rt_error *err)
{
	return t->len > 0 ? 0 : t->from.pull(t->from.self, &t->piece, &t->len, err);
}

/* Steps over bytes of the piece and returns where they begin. */
static const unsigned char *step(struct tar_reader *t, size_t n)
{
	const unsigned char *at = t->piece;
	t->piece += n;
	t->len -= n;
	return at;
}

/* Copies exactly n bytes; to NULL: drops them. Returns 1, 0 at an end of input before the first byte (`may_end`), or -errno. */
static int take(struct tar_reader *t, void *to, size_t n, bool may_end, struct rt_error *err)
{
	for (size_t done = 0; done < n;) {
		int r = fill(t, err);
		if (r < 0)
			return r;
		if (t->len == 0 && done == 0 && may_end)
			return 0;
		if (t->len == 0)
			return rt_fail(err, EPROTO, "the layer ends in the middle of an entry");
		size_t part = t->len < n - done ? t->len : n - done;
		const unsigned char *from = step(t, part);
		if (to)
			memcpy((char *)to + done, from, part);
		done += part;
	}
	return 1;
}

static int count_bytes(struct tar_reader *t, uint64_t n, struct rt_error *err)
{
	if (n > t->limits.max_bytes || t->bytes > t->limits.max_bytes - n)
		return rt_fail(err, EFBIG, "the layer holds more than %llu bytes", (unsigned long long)t->limits.max_bytes);
	t->bytes += n;
	return 0;
}

/* Octal digits amid spaces and NULs, or GNU's base 256 (first bit set). False when it is neither, or negative, or too large. */
static bool number(const char *field, size_t width, uint64_t *out)
{
	const unsigned char *p = (const unsigned char *)field;
	uint64_t n = 0;
	if (p[0] & 0x80) {
		if (p[0] & 0x40)
			return false;
		for (size_t i = 0; i < width; i++) {
			if (n >> 56)
				return false;
			n = n << 8 | (i == 0 ? p[0] & 0x3fu : p[i]);
		}
		*out = n;
		return true;
	}
	size_t i = 0;
	while (i < width && p[i] == ' ')
		i++;
	for (; i < width && p[i] >= '0' && p[i] <= '7'; i++) {
		if (n >> 61)
			return false;
		n = n << 3 | (uint64_t)(p[i] - '0');
	}
	for (; i < width; i++) {
		if (p[i] != ' ' && p[i] != 0)
			return false;
	}
	*out = n;
	return true;
}

static bool checksum_holds(const struct header *h)
{
	uint64_t stated;
	if (!number(h->checksum, sizeof h->checksum, &stated))
		return false;
	/* Old archivers summed signed characters. */
	uint64_t sum = 0;
	int64_t signed_sum = 0;
	for (unsigned i = 0; i < BLOCK; i++) {
		bool in_field = i >= offsetof(struct header, checksum) && i < offsetof(struct header, type);
		unsigned char c = in_field ? ' ' : ((const unsigned char *)h)[i];
		sum += c;
		signed_sum += (signed char)c;
	}
	return stated == sum || (int64_t)stated == signed_sum;
}

static bool is_zero(const struct header *h)
{
	static const char zeros[BLOCK];
	return memcmp(h, zeros, BLOCK) == 0;
}

/* Reads the content of an extended header, NUL-terminated, the caller's to free. */
static int read_extension(struct tar_reader *t, uint64_t size, char **out, struct rt_error *err)
{
	if (size > LAYER_EXTENSION_MAX)
		return rt_fail(err, EFBIG, "extended header of %llu bytes", (unsigned long long)size);
	int r = count_bytes(t, size, err);
	if (r < 0)
		return r;
	cleanup_free char *text = malloc(size + 1);
	if (!text)
		return rt_fail(err, ENOMEM, "read the layer");
	r = take(t, text, size, false, err);
	if (r >= 0)
		r = take(t, NULL, -size % BLOCK, false, err);
	if (r < 0)
		return r;
	text[size] = 0;
	*out = take_ptr(text);
	return 0;
}

static int copy_name(char out[LAYER_PATH_MAX], const char *name, struct rt_error *err)
{
	size_t len = strlen(name);
	if (len >= LAYER_PATH_MAX)
		return rt_fail(err, EFBIG, "path of %zu bytes", len);
	memcpy(out, name, len + 1);
	return 0;
}

static void header_name(const struct header *h, char out[LAYER_PATH_MAX])
{
	size_t len = 0;
	/* GNU's magic is "ustar " and its header holds times where POSIX has the prefix. */
	if (memcmp(h->magic, "ustar\0", 6) == 0 && h->prefix[0]) {
		len = strnlen(h->prefix, sizeof h->prefix);
		memcpy(out, h->prefix, len);
		out[len++] = '/';
	}
	size_t n = strnlen(h->name, sizeof h->name);
	memcpy(out + len, h->name, n);
	out[len + n] = 0;
}

static int entry_type(const struct header *h, enum tar_type *out, struct rt_error *err)
{
	switch (h->type) {
	case '0':
	case '\0':
	case '7':
		*out = TAR_FILE;
		return 0;
	case '1':
		*out = TAR_HARDLINK;
		return 0;
	case '2':
		*out = TAR_SYMLINK;
		return 0;
	case '3':
	case '4':
		*out = TAR_DEVICE;
		return 0;
	case '5':
		*out = TAR_DIRECTORY;
		return 0;
	case '6':
		*out = TAR_FIFO;
		return 0;
	case 'S':
		return rt_fail(err, EPROTO, "sparse files are not supported in layers");
	default:
		return rt_fail(err, EPROTO, "entry of unknown type 0x%02x", (unsigned char)h->type);
	}
}

/* Fills the entry from its header and what went before it. */
static int make_entry(const struct header *h, const struct pax_overrides *over, struct tar_entry *e, struct rt_error *err)
{
	uint64_t mode, uid, gid, mtime;
	if (!number(h->mode, sizeof h->mode, &mode) || !number(h->uid, sizeof h->uid, &uid) || !number(h->gid, sizeof h->gid, &gid) ||
	    !number(h->size, sizeof h->size, &e->size))
		return rt_fail(err, EPROTO, "malformed number in a header");
	/* Times before 1970 are the one thing that may be negative, and nothing depends on them. */
	if (!number(h->mtime, sizeof h->mtime, &mtime) || mtime > (uint64_t)1 << 40)
		mtime = 0;
	int r = entry_type(h, &e->type, err);
	if (r < 0)
		return r;
	if (over->path)
		r = copy_name(e->path, over->path, err);
	else
		header_name(h, e->path);
	if (r == 0 && over->link)
		r = copy_name(e->link, over->link, err);
	else if (r == 0) {
		size_t n = strnlen(h->link, sizeof h->link);
		memcpy(e->link, h->link, n);
		e->link[n] = 0;
	}
	if (r < 0)
		return r;
	uid = over->has_uid ? over->uid : uid;
	gid = over->has_gid ? over->gid : gid;
	/* The last id means "leave it" to chown(2). */
	if (uid >= UINT32_MAX || gid >= UINT32_MAX)
		return rt_fail(err, EPROTO, "owner out of range: %.200s", e->path);
	e->uid = (uid_t)uid;
	e->gid = (gid_t)gid;
	e->mode = (mode_t)(mode & 07777);
	e->mtime = over->has_mtime ? over->mtime : (struct timespec){ .tv_sec = (time_t)mtime };
	if (over->has_size)
		e->size = over->size;
	e->xattr_count = over->xattr_count;
	memcpy(e->xattrs, over->xattrs, over->xattr_count * sizeof *over->xattrs);
	/* Archives from before POSIX know directories by their name's end. */
	size_t len = strlen(e->path);
	if (e->type == TAR_FILE && h->type != '7' && len > 0 && e->path[len - 1] == '/')
		e->type = TAR_DIRECTORY;
	/* Some archivers give the size of the file that a link stands for; nothing follows it. */
	if (e->type != TAR_FILE) {
		if (e->type == TAR_DIRECTORY && e->size > 0)
			return rt_fail(err, EPROTO, "directory with content: %.200s", e->path);
		e->size = 0;
	}
	return 0;
}

/* Reads one header; 1: an entry's or an extension's, 0: the archive's end. */
static int read_header(struct tar_reader *t, struct header *h, struct rt_error *err)
{
	int r = take(t, h, BLOCK, true, err);
	if (r <= 0)
		return r;
	if (is_zero(h)) {
		r = take(t, h, BLOCK, true, err);
		if (r <= 0)
			return r;
		return is_zero(h) ? 0 : rt_fail(err, EPROTO, "an entry after the archive's end");
	}
	if (!checksum_holds(h))
		return rt_fail(err, EPROTO, "no tar archive, or a damaged header");
	if (++t->entries > t->limits.max_entries)
		return rt_fail(err, EFBIG, "the layer holds more than %llu entries", (unsigned long long)t->limits.max_entries);
	return 1;
}

static int skip_content(struct tar_reader *t, struct rt_error *err)
{
	for (size_t len = 1; len > 0;) {
		const void *piece;
		int r = tar_read(t, &piece, &len, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* GNU's long names and pax headers that precede an entry; each kind once. */
struct preface {
	char *long_path, *long_link, *global;
};

static void preface_free(struct preface *p)
{
	free(p->long_path);
	free(p->long_link);
	free(p->global);
}

static int read_preface(struct tar_reader *t, char type, uint64_t size, struct preface *p, struct pax_overrides *over, struct rt_error *err)
{
	char **slot = type == 'x' ? &t->extension : type == 'L' ? &p->long_path : type == 'K' ? &p->long_link : &p->global;
	if (*slot && type != 'g')
		return rt_fail(err, EPROTO, "two extended headers of one kind before an entry");
	free(*slot);
	*slot = NULL;
	int r = read_extension(t, size, slot, err);
	if (r < 0)
		return r;
	if (type == 'x' || type == 'g')
		return pax_parse(*slot, size, type == 'g', over, err);
	if (type == 'L')
		over->path = over->path ? over->path : *slot;
	else
		over->link = over->link ? over->link : *slot;
	return 0;
}

int tar_next(struct tar_reader *t, struct tar_entry *e, struct rt_error *err)
{
	int r = skip_content(t, err);
	if (r < 0)
		return r;
	free(t->extension);
	t->extension = NULL;
	__attribute__((cleanup(preface_free))) struct preface preface = { 0 };
	struct pax_overrides over = { 0 };
	struct header h;
	for (;;) {
		r = read_header(t, &h, err);
		if (r < 0)
			return r;
		if (r == 0) {
			if (t->extension || preface.long_path || preface.long_link)
				return rt_fail(err, EPROTO, "the layer ends after an extended header");
			return 0;
		}
		if (!strchr("xgLK", h.type) || h.type == 0)
			break;
		uint64_t size;
		if (!number(h.size, sizeof h.size, &size))
			return rt_fail(err, EPROTO, "malformed number in a header");
		r = read_preface(t, h.type, size, &preface, &over, err);
		if (r < 0)
			return r;
	}
	r = make_entry(&h, &over, e, err);
	if (r == 0)
		r = count_bytes(t, e->size, err);
	if (r < 0)
		return r;
	t->left = e->size;
	t->padding = (unsigned)(-e->size % BLOCK);
	return 1;
}

int tar_read(struct tar_reader *t, const void **piece, size_t *len, struct rt_error *err)
{
	*len = 0;
	if (t->left == 0) {
		unsigned padding = t->padding;
		t->padding = 0;
		int r = take(t, NULL, padding, false, err);
		return r < 0 ? r : 0;
	}
	int r = fill(t, err);
	if (r < 0)
		return r;
	if (t->len == 0)
		return rt_fail(err, EPROTO, "the layer ends in the middle of an entry");
	*len = t->len < t->left ? t->len : (size_t)t->left;
	*piece = step(t, *len);
	t->left -= *len;
	return 0;
}

int tar_drain(struct tar_reader *t, struct rt_error *err)
{
	for (;;) {
		int r = fill(t, err);
		if (r < 0)
			return r;
		if (t->len == 0)
			return 0;
		r = count_bytes(t, t->len, err);
		if (r < 0)
			return r;
		step(t, t->len);
	}
}
