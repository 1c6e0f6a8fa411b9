/*
 * berth-layer: image layers and the filesystems made of them. Its contract is docs/contracts.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fs.h"
#include "common/json.h"
#include "common/scope.h"
#include "layer/archive.h"
#include "layer/blob.h"
#include "layer/changes-list.h"
#include "layer/image-mount.h"
#include "layer/mount-api.h"
#include "layer/overlay.h"
#include "layer/pack.h"
#include "layer/sandbox.h"
#include "layer/tar.h"
#include "layer/unpack.h"
#include "layer/walk.h"

struct arguments {
	const char *dir;
	const char *image;
	const char *file;
	struct blob_request blob;
	struct layer_limits limits;
	struct overlay overlay;
	struct idmap map;
};

static int parse_count(const char *name, const char *text, uint64_t *out, struct rt_error *err)
{
	char *end;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno)
		return rt_fail(err, EINVAL, "%s takes a number, not %.60s", name, text);
	*out = n;
	return 0;
}

static int parse_project(const char *name, const char *text, uint32_t *out, struct rt_error *err)
{
	uint64_t n = 0;
	int r = parse_count(name, text, &n, err);
	/* The last id is the kernel's word for none. */
	if (r == 0 && n >= UINT32_MAX)
		return rt_fail(err, EINVAL, "%s is out of range: %s", name, text);
	*out = (uint32_t)n;
	return r;
}

static int parse_argument(const char *name, const char *value, struct arguments *a, struct rt_error *err)
{
	if (strcmp(name, "--dir") == 0)
		a->dir = value;
	else if (strcmp(name, "--image") == 0)
		a->image = value;
	else if (strcmp(name, "--file") == 0)
		a->file = value;
	else if (strcmp(name, "--blob") == 0)
		a->blob.blob_digest = value;
	else if (strcmp(name, "--diff-id") == 0)
		a->blob.diff_id = value;
	else if (strcmp(name, "--compression") == 0)
		return compression_parse(value, &a->blob.compression, err);
	else if (strcmp(name, "--target") == 0)
		a->overlay.target = value;
	else if (strcmp(name, "--upper") == 0)
		a->overlay.upper = value;
	else if (strcmp(name, "--work") == 0)
		a->overlay.work = value;
	else if (strcmp(name, "--bound") == 0)
		return bound_parse(value, &a->overlay.bound.kind, err);
	else if (strcmp(name, "--bound-bytes") == 0)
		return parse_count(name, value, &a->overlay.bound.bytes, err);
	else if (strcmp(name, "--bound-inodes") == 0)
		return parse_count(name, value, &a->overlay.bound.inodes, err);
	else if (strcmp(name, "--bound-image") == 0)
		a->overlay.bound.image = value;
	else if (strcmp(name, "--project") == 0)
		return parse_project(name, value, &a->overlay.bound.project, err);
	else if (strcmp(name, "--max-bytes") == 0)
		return parse_count(name, value, &a->limits.max_bytes, err);
	else if (strcmp(name, "--max-entries") == 0)
		return parse_count(name, value, &a->limits.max_entries, err);
	else if (strcmp(name, "--map") == 0) {
		a->overlay.map = &a->map;
		return idmap_parse(value, &a->map, err);
	} else if (strcmp(name, "--lower") == 0) {
		if (a->overlay.lower_count == OVERLAY_LOWERS_MAX)
			return rt_fail(err, E2BIG, "more than %d layers", OVERLAY_LOWERS_MAX);
		/* An image belongs to the lower that follows it. */
		a->overlay.lowers[a->overlay.lower_count++] = (struct overlay_lower){ value, a->image };
		a->image = NULL;
	} else {
		return rt_fail(err, EINVAL, "unknown option %.60s", name);
	}
	return 0;
}

static int parse_arguments(int argc, char **argv, struct arguments *a, struct rt_error *err)
{
	a->blob.file = -1;
	a->limits = (struct layer_limits){ LAYER_DEFAULT_MAX_BYTES, LAYER_DEFAULT_MAX_ENTRIES };
	for (int i = 2; i < argc; i += 2) {
		if (i + 1 == argc)
			return rt_fail(err, EINVAL, "%.60s wants a value", argv[i]);
		int r = parse_argument(argv[i], argv[i + 1], a, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static FILE *answers; /* where the one JSON line goes */

static int print(struct json_out *o, struct rt_error *err)
{
	cleanup_free char *text = json_out_finish(o);
	if (!text)
		return rt_fail(err, ENOMEM, "print the result");
	return fprintf(answers, "%s\n", text) < 0 || fflush(answers) != 0 ? rt_fail_errno(err, "print the result") : 0;
}

static int required(const char *value, const char *name, struct rt_error *err)
{
	return value ? 0 : rt_fail(err, EINVAL, "%s is missing", name);
}

static int open_dir(const char *path, struct rt_error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? rt_fail_errno(err, "open %.200s", path) : fd;
}

/* The request with the blob's file opened, where it comes by one; `file` is the caller's to close. */
static int open_blob(const struct arguments *a, struct blob_request *blob, int *file, struct rt_error *err)
{
	*blob = a->blob;
	if (!a->file)
		return 0;
	blob->file = *file = open(a->file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return *file < 0 ? rt_fail_errno(err, "open %.200s", a->file) : 0;
}

static int print_layer(const struct blob_facts *blob, uint64_t bytes, uint64_t entries, struct rt_error *err)
{
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	json_out_key(&o, "bytes");
	json_out_uint(&o, bytes);
	json_out_key(&o, "entries");
	json_out_uint(&o, entries);
	json_out_key(&o, "blobDigest");
	json_out_str(&o, blob->blob_digest);
	json_out_key(&o, "blobBytes");
	json_out_uint(&o, blob->blob_bytes);
	json_out_key(&o, "diffId");
	json_out_str(&o, blob->diff_id);
	json_out_key(&o, "archiveBytes");
	json_out_uint(&o, blob->archive_bytes);
	json_out_close(&o, '}');
	return print(&o, err);
}

struct unpacking {
	int dir;
	const struct layer_limits *limits;
	struct unpack_result result;
};

static int make_tree(void *context, const struct byte_source *archive, struct rt_error *err)
{
	struct unpacking *u = context;
	return unpack_layer(archive, u->dir, u->limits, &u->result, err);
}

static int do_unpack(const struct arguments *a, struct rt_error *err)
{
	int r = required(a->dir, "--dir", err);
	if (r < 0)
		return r;
	cleanup_fd int file = -1;
	struct blob_request request;
	cleanup_fd int dir = open_dir(a->dir, err);
	struct unpacking u = { .dir = dir, .limits = &a->limits };
	struct blob_facts blob;
	r = dir < 0 ? dir : open_blob(a, &request, &file, err);
	if (r == 0)
		r = blob_run(&request, make_tree, &u, &blob, err);
	return r < 0 ? r : print_layer(&blob, u.result.bytes, u.result.entries, err);
}

struct packing {
	int image;
	const struct arguments *arguments;
	struct blob_request request;
	struct pack_result result;
	struct blob_facts blob;
};

static int make_image(void *context, const struct byte_source *archive, struct rt_error *err)
{
	struct packing *p = context;
	return pack_layer(archive, p->image, &p->arguments->limits, &p->result, err);
}

static int pack(void *context, struct rt_error *err)
{
	struct packing *p = context;
	return blob_run(&p->request, make_image, p, &p->blob, err);
}

static int do_pack(const struct arguments *a, struct rt_error *err)
{
	int r = required(a->image, "--image", err);
	if (r < 0)
		return r;
	cleanup_fd int image = open(a->image, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (image < 0)
		return rt_fail_errno(err, "create %.200s", a->image);
	cleanup_fd int file = -1;
	struct packing p = { .image = image, .arguments = a };
	r = open_blob(a, &p.request, &file, err);
	if (r == 0)
		r = sandbox_run(SANDBOX_BYTES, pack, &p, sizeof p, err);
	if (r == 0)
		r = print_layer(&p.blob, p.result.bytes, p.result.entries, err);
	if (r < 0)
		unlink(a->image);
	return r;
}

static int count_archive(void *context, const struct byte_source *archive, struct rt_error *err)
{
	const struct packing *p = context;
	struct tar_reader tar;
	tar_open(&tar, archive, &p->arguments->limits);
	return tar_drain(&tar, err);
}

static int verify(void *context, struct rt_error *err)
{
	struct packing *p = context;
	return blob_run(&p->request, count_archive, p, &p->blob, err);
}

/* The same bytes once more, to be compared and kept nowhere. */
static int do_verify(const struct arguments *a, struct rt_error *err)
{
	cleanup_fd int file = -1;
	struct packing p = { .image = -1, .arguments = a };
	int r = open_blob(a, &p.request, &file, err);
	if (r == 0)
		r = sandbox_run(SANDBOX_BYTES, verify, &p, sizeof p, err);
	return r < 0 ? r : print_layer(&p.blob, 0, 0, err);
}

/* A file as it is on disk; nothing of it is parsed, so no sandbox is needed. */
static int do_digest(const struct arguments *a, struct rt_error *err)
{
	int r = required(a->file, "--file", err);
	if (r < 0)
		return r;
	cleanup_fd int file = open(a->file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (file < 0)
		return rt_fail_errno(err, "open %.200s", a->file);
	static unsigned char block[256 * 1024];
	struct sha256 hash;
	char text[SHA256_TEXT];
	ssize_t n;
	sha256_init(&hash);
	while ((n = read(file, block, sizeof block)) != 0) {
		if (n < 0 && errno != EINTR)
			return rt_fail_errno(err, "read %.200s", a->file);
		if (n > 0)
			sha256_update(&hash, block, (size_t)n);
	}
	sha256_text(&hash, text);
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	json_out_key(&o, "digest");
	json_out_str(&o, text);
	json_out_close(&o, '}');
	return print(&o, err);
}

static int do_mount(const struct arguments *a, struct rt_error *err)
{
	const struct bound *bound = &a->overlay.bound;
	bool own = bound->kind == BOUND_IMAGE || bound->kind == BOUND_TMPFS;
	int r = required(a->overlay.target, "--target", err);
	if (r == 0 && own && (a->overlay.upper || a->overlay.work))
		return rt_fail(err, EINVAL, "--upper and --work are not for a writable layer with a filesystem of its own");
	if (r == 0 && !own)
		r = required(a->overlay.upper, "--upper", err);
	if (r == 0 && !own)
		r = required(a->overlay.work, "--work", err);
	if (r == 0 && bound->kind == BOUND_IMAGE)
		r = required(bound->image, "--bound-image", err);
	else if (r == 0 && bound->kind != BOUND_NONE && (!bound->bytes || !bound->inodes))
		r = rt_fail(err, EINVAL, "--bound-bytes and --bound-inodes are missing");
	if (r == 0)
		r = required(a->overlay.lowers[0].dir, "--lower", err);
	return r < 0 ? r : overlay_mount(&a->overlay, err);
}

static int do_unmount(const struct arguments *a, struct rt_error *err)
{
	cleanup_fd int lock = -1;
	int r = required(a->overlay.target, "--target", err);
	if (r == 0)
		r = overlay_unmount(a->overlay.target, err);
	for (int i = 0; r == 0 && i < a->overlay.lower_count; i++) {
		if (lock < 0)
			r = image_lock(a->overlay.lowers[i].dir, &lock, err);
		if (r == 0)
			r = image_release(a->overlay.lowers[i].dir, err);
	}
	return r;
}

static int do_measure(const struct arguments *a, struct rt_error *err)
{
	struct walk_usage usage;
	int r = required(a->dir, "--dir", err);
	if (r == 0)
		r = walk_measure(AT_FDCWD, a->dir, &usage, err);
	if (r < 0)
		return r;
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	json_out_key(&o, "bytes");
	json_out_uint(&o, usage.bytes);
	json_out_key(&o, "inodes");
	json_out_uint(&o, usage.inodes);
	json_out_close(&o, '}');
	return print(&o, err);
}

struct comparing {
	struct changes_request request;
	struct layer_limits limits;
	struct archive_result result;
};

/* Opens the two trees that a writable layer's changes are between, each as an unattached mount. */
static int open_changes(const struct arguments *a, struct comparing *c, struct rt_error *err)
{
	int r = required(a->overlay.upper, "--upper", err);
	if (r == 0)
		r = required(a->overlay.target, "--target", err);
	if (r == 0)
		r = required(a->overlay.lowers[0].dir, "--lower", err);
	if (r < 0)
		return r;
	*c = (struct comparing){ .request = { .upper = -1, .lower = -1, .map = a->overlay.map }, .limits = a->limits };
	r = c->request.upper = mount_clone(a->overlay.upper);
	if (r >= 0)
		r = mount_restrict(c->request.upper, -1);
	return r < 0 ? rt_fail(err, r, "open %.200s", a->overlay.upper) : overlay_lowers(&a->overlay, &c->request.lower, err);
}

static int list(void *context, struct rt_error *err)
{
	const struct comparing *c = context;
	struct json_out o = { 0 };
	int r = changes_list(&c->request, c->limits.max_entries, &o, err);
	cleanup_free char *text = json_out_finish(&o);
	if (r < 0)
		return r;
	/* Not by stdio, which asks about terminals, and may not here. */
	r = text ? fs_write_all(STDOUT_FILENO, text, strlen(text)) : -ENOMEM;
	return r < 0 ? rt_fail(err, r, "print the changes") : 0;
}

static int do_changes(const struct arguments *a, struct rt_error *err)
{
	struct comparing c;
	int r = open_changes(a, &c, err);
	return r < 0 ? r : sandbox_run(SANDBOX_TREES, list, &c, sizeof c, err);
}

static int archive(void *context, struct rt_error *err)
{
	struct comparing *c = context;
	return archive_write(&c->request, STDOUT_FILENO, &c->limits, &c->result, err);
}

static int do_archive(const struct arguments *a, struct rt_error *err)
{
	struct comparing c;
	int r = open_changes(a, &c, err);
	if (r == 0)
		r = sandbox_run(SANDBOX_TREES, archive, &c, sizeof c, err);
	if (r < 0)
		return r;
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	json_out_key(&o, "diffId");
	json_out_str(&o, c.result.diff_id);
	json_out_key(&o, "bytes");
	json_out_uint(&o, c.result.bytes);
	json_out_key(&o, "entries");
	json_out_uint(&o, c.result.entries);
	json_out_close(&o, '}');
	return print(&o, err);
}

static int do_remove(const struct arguments *a, struct rt_error *err)
{
	int r = required(a->dir, "--dir", err);
	if (r < 0)
		return r;
	struct rt_error failed = { 0 };
	if (a->overlay.bound.project) {
		r = bound_forget(a->overlay.bound.project, a->dir, err);
		if (r < 0)
			return r;
	}
	r = walk_remove(AT_FDCWD, a->dir, &failed);
	return r == 0 || (r == -ENOENT && access(a->dir, F_OK) < 0) ? 0 : rt_fail(err, r, "%s", failed.text);
}

static const struct verb {
	const char *name;
	int (*run)(const struct arguments *, struct rt_error *);
	bool streams; /* what it makes is on stdout, and so its answer on stderr */
} verbs[] = {
	{ "unpack", do_unpack, false }, { "pack", do_pack, false }, { "verify", do_verify, false }, { "digest", do_digest, false }, { "mount", do_mount, false }, { "unmount", do_unmount, false }, { "measure", do_measure, false }, { "changes", do_changes, false }, { "archive", do_archive, true }, { "remove", do_remove, false },
};

static const char *error_code(int code)
{
	switch (code) {
	case EPROTO:
		return "layerRejected";
	case EBADMSG:
		return "digestMismatch";
	case EFBIG:
		return "tooLarge";
	case EINVAL:
		return "usage";
	case ENOTSUP:
		return "unsupported";
	default:
		return "io";
	}
}

static void print_error(const struct rt_error *err)
{
	char message[RT_ERROR_TEXT + 128];
	rt_error_message(err, message, sizeof message);
	struct json_out o = { 0 };
	json_out_open(&o, '{');
	json_out_key(&o, "error");
	json_out_str(&o, error_code(err->code));
	json_out_key(&o, "message");
	json_out_str(&o, err->code == EFBIG || err->code == EBADMSG ? err->text : message);
	json_out_close(&o, '}');
	cleanup_free char *text = json_out_finish(&o);
	fprintf(answers, "%s\n", text ? text : "{\"error\":\"io\",\"message\":\"out of memory\"}");
	fflush(answers);
}

int main(int argc, char **argv)
{
	struct rt_error err = { 0 };
	struct arguments *a = calloc(1, sizeof *a);
	umask(022);
	answers = stdout;
	int r = a ? parse_arguments(argc, argv, a, &err) : rt_fail(&err, ENOMEM, "start");
	const struct verb *verb = NULL;
	for (size_t i = 0; r == 0 && argc > 1 && i < sizeof verbs / sizeof *verbs; i++)
		verb = strcmp(argv[1], verbs[i].name) == 0 ? &verbs[i] : verb;
	if (r == 0 && !verb)
		r = rt_fail(&err, EINVAL, "berth-layer unpack|pack|verify|digest|mount|unmount|measure|changes|archive|remove ...");
	if (verb && verb->streams)
		answers = stderr;
	if (r == 0)
		r = verb->run(a, &err);
	free(a);
	if (r == 0)
		return 0;
	print_error(&err);
	return 1;
}
