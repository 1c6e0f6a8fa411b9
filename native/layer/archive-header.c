#include "layer/archive-header.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "layer/limits.h"

/* ustar's header (POSIX.1-2001, "ustar Interchange Format"); numbers are octal text. */
struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6], version[2];
	char user[32], group[32], major[8], minor[8], prefix[155], unused[12];
};
_Static_assert(sizeof(struct ustar) == 512, "a header is one block");

int archive_pax_add(struct archive_pax *pax, const char *key, const char *value, size_t len, struct rt_error *err)
{
	/* The length counts its own digits. */
	const size_t rest = strlen(key) + len + 3;
	size_t total = rest + 1;
	char digits[24];
	for (int n = 0; (n = snprintf(digits, sizeof digits, "%zu", total)), total != rest + (size_t)n;)
		total = rest + (size_t)n;
	if (pax->len + total > LAYER_EXTENSION_MAX)
		return rt_fail(err, EFBIG, "the attributes of a file have more than %u bytes", LAYER_EXTENSION_MAX);
	if (pax->cap - pax->len < total + 1) {
		size_t cap = pax->cap * 2 + total + 256;
		char *grown = realloc(pax->text, cap);
		if (!grown)
			return rt_fail(err, ENOMEM, "write a header");
		pax->text = grown;
		pax->cap = cap;
	}
	char *at = pax->text + pax->len;
	int head = snprintf(at, total + 1, "%zu %s=", total, key);
	memcpy(at + head, value, len);
	at[total - 1] = '\n';
	pax->len += total;
	return 0;
}

/* False when the number has more digits than there is room for. */
static bool octal(char *field, size_t size, uint64_t value)
{
	if (value >> (3 * (size - 1)))
		return false;
	for (size_t i = size - 1; i-- > 0; value >>= 3)
		field[i] = (char)('0' + (value & 7));
	return true;
}

static int number(struct archive_pax *pax, const char *key, char *field, size_t size, int64_t value, struct rt_error *err)
{
	char text[24];
	if (value >= 0 && octal(field, size, (uint64_t)value))
		return 0;
	octal(field, size, 0);
	int n = snprintf(text, sizeof text, "%" PRId64, value);
	return archive_pax_add(pax, key, text, (size_t)n, err);
}

static int name(struct archive_pax *pax, const char *key, char field[100], const char *value, struct rt_error *err)
{
	size_t len = strlen(value);
	memcpy(field, value, len < 100 ? len : 100);
	return len <= 100 ? 0 : archive_pax_add(pax, key, value, len, err);
}

static void seal(struct ustar *h)
{
	memcpy(h->magic, "ustar", 6);
	memcpy(h->version, "00", 2);
	memset(h->checksum, ' ', sizeof h->checksum);
	unsigned sum = 0;
	for (size_t i = 0; i < sizeof *h; i++)
		sum += ((const unsigned char *)h)[i];
	octal(h->checksum, 7, sum);
	h->checksum[6] = 0;
}

int archive_header(const struct archive_entry *entry, struct archive_pax *pax, unsigned char out[512], struct rt_error *err)
{
	struct ustar h = { .type = entry->type };
	int r = name(pax, "path", h.name, entry->path, err);
	if (r == 0 && entry->link)
		r = name(pax, "linkpath", h.link, entry->link, err);
	if (r == 0)
		r = number(pax, "uid", h.uid, sizeof h.uid, entry->uid, err);
	if (r == 0)
		r = number(pax, "gid", h.gid, sizeof h.gid, entry->gid, err);
	if (r == 0)
		r = number(pax, "size", h.size, sizeof h.size, (int64_t)entry->size, err);
	if (r == 0)
		r = number(pax, "mtime", h.mtime, sizeof h.mtime, entry->mtime, err);
	octal(h.mode, sizeof h.mode, entry->mode);
	bool fits = octal(h.major, sizeof h.major, major(entry->device)) && octal(h.minor, sizeof h.minor, minor(entry->device));
	if (r == 0 && !fits)
		return rt_fail(err, EFBIG, "/%.200s: no archive can have so large a device number", entry->path);
	seal(&h);
	memcpy(out, &h, sizeof h);
	return r;
}

void archive_pax_header(const struct archive_pax *pax, unsigned char out[512])
{
	struct ustar h = { .name = "././@PaxHeader", .type = 'x' };
	octal(h.mode, sizeof h.mode, 0644);
	octal(h.uid, sizeof h.uid, 0);
	octal(h.gid, sizeof h.gid, 0);
	octal(h.size, sizeof h.size, pax->len);
	octal(h.mtime, sizeof h.mtime, 0);
	octal(h.major, sizeof h.major, 0);
	octal(h.minor, sizeof h.minor, 0);
	seal(&h);
	memcpy(out, &h, sizeof h);
}
