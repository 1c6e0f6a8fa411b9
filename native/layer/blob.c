#include "layer/blob.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/scope.h"
#include "layer/relay.h"

struct pipeline {
	const struct blob_request *request;
	struct blob_facts *facts;
	struct relay packed, archive;
	struct rt_error reading, unpacking;
};

/* Where the reader of a blob's file stands, and how far it may go. */
struct file_reader {
	uint64_t at, there;
};

static ssize_t read_number(int fd, uint64_t *out)
{
	unsigned char bytes[8];
	size_t done = 0;
	while (done < sizeof bytes) {
		ssize_t n = retry_eintr(read(fd, bytes + done, sizeof bytes - done));
		if (n <= 0)
			return n;
		done += (size_t)n;
	}
	*out = 0;
	for (unsigned i = 0; i < sizeof bytes; i++)
		*out |= (uint64_t)bytes[i] << 8 * i;
	return (ssize_t)done;
}

/* The next bytes of the blob; 0 at its end. */
static ssize_t read_some(const struct blob_request *request, struct file_reader *f, unsigned char *chunk)
{
	if (request->file < 0)
		return retry_eintr(read(request->fd, chunk, SINK_CHUNK));
	while (f->at >= f->there) {
		ssize_t n = read_number(request->fd, &f->there);
		if (n <= 0)
			return n;
	}
	uint64_t left = f->there - f->at;
	ssize_t n = retry_eintr(pread(request->file, chunk, left < SINK_CHUNK ? (size_t)left : SINK_CHUNK, (off_t)f->at));
	f->at += n > 0 ? (uint64_t)n : 0;
	return n;
}

/* Hashes the blob and hands it on for as long as anybody wants it. */
static void *read_blob(void *self)
{
	struct pipeline *p = self;
	struct file_reader file = { 0 };
	struct sha256 hash;
	unsigned char *chunk;
	sha256_init(&hash);
	int wanted = relay_turn(&p->packed, 0, &chunk, &p->reading);
	for (;;) {
		ssize_t n = read_some(p->request, &file, chunk);
		if (n < 0)
			rt_fail_errno(&p->reading, "read the layer");
		if (n <= 0)
			break;
		sha256_update(&hash, chunk, (size_t)n);
		if (wanted >= 0)
			wanted = relay_turn(&p->packed, (size_t)n, &chunk, &p->reading);
		if (wanted < 0 && !p->request->blob_digest)
			break;
	}
	p->facts->blob_bytes = hash.bytes;
	sha256_text(&hash, p->facts->blob_digest);
	relay_end(&p->packed);
	return NULL;
}

static void *unpack_blob(void *self)
{
	struct pipeline *p = self;
	struct relay_reader reader = { &p->packed, 0 };
	const struct byte_source from = { relay_pull, &reader };
	const struct byte_sink to = { relay_turn, &p->archive };
	if (decompress(p->request->compression, &from, &to, &p->unpacking) < 0)
		relay_leave(&reader);
	relay_end(&p->archive);
	return NULL;
}

static void *hash_archive(void *self)
{
	struct pipeline *p = self;
	struct relay_reader reader = { &p->archive, 1 };
	struct sha256 hash;
	const unsigned char *piece;
	size_t len;
	sha256_init(&hash);
	while (relay_pull(&reader, &piece, &len, &p->unpacking) >= 0 && len > 0)
		sha256_update(&hash, piece, len);
	p->facts->archive_bytes = hash.bytes;
	sha256_text(&hash, p->facts->diff_id);
	return NULL;
}

static int verdict(const struct pipeline *p, const struct rt_error *making, struct rt_error *err)
{
	const struct blob_request *wanted = p->request;
	const struct blob_facts *found = p->facts;
	if (p->reading.code)
		*err = p->reading;
	else if (wanted->blob_digest && strcmp(wanted->blob_digest, found->blob_digest) != 0)
		return rt_fail(err, EBADMSG, "the bytes of %s hash to %s", wanted->blob_digest, found->blob_digest);
	else if (p->unpacking.code)
		*err = p->unpacking;
	else if (making->code)
		*err = *making;
	else if (wanted->diff_id && strcmp(wanted->diff_id, found->diff_id) != 0)
		return rt_fail(err, EBADMSG, "a layer unpacks to %s, the configuration says %s", found->diff_id, wanted->diff_id);
	return -err->code;
}

static int start(pthread_t *thread, void *(*run)(void *), struct pipeline *p, struct rt_error *err)
{
	int code = pthread_create(thread, NULL, run, p);
	return code ? rt_fail(err, code, "start a thread") : 0;
}

int blob_run(const struct blob_request *request, int (*make)(void *context, const struct byte_source *archive, struct rt_error *err),
	     void *context, struct blob_facts *out, struct rt_error *err)
{
	static void *(*const stages[])(void *) = { read_blob, unpack_blob, hash_archive };
	enum { STAGES = sizeof stages / sizeof *stages };
	/* Of the program, not of this call: should a thread not start, those before it still run when this returns. */
	static struct pipeline p;
	p = (struct pipeline){ .request = request, .facts = out };
	struct relay_reader reader = { &p.archive, 0 };
	const struct byte_source archive = { relay_pull, &reader };
	struct rt_error making = { 0 };
	pthread_t threads[STAGES];
	unsigned started = 0;
	*out = (struct blob_facts){ .blob_bytes = 0 };
	int r = relay_open(&p.packed, 1, err);
	if (r == 0)
		r = relay_open(&p.archive, 2, err);
	while (r == 0 && started < STAGES) {
		r = start(&threads[started], stages[started], &p, err);
		started += r == 0;
	}
	if (r == 0 && make(context, &archive, &making) < 0) {
		/* Nobody needs the rest of the archive; both its readers leave, and the decompression ends with them. */
		relay_leave(&reader);
		relay_leave(&(struct relay_reader){ &p.archive, 1 });
	}
	if (started == STAGES) {
		for (unsigned i = 0; i < STAGES; i++)
			pthread_join(threads[i], NULL);
		r = verdict(&p, &making, err);
		relay_close(&p.packed);
		relay_close(&p.archive);
	}
	return r;
}
