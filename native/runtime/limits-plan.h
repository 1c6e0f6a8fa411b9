/*
 * Limits as data: a list of writes to one cgroup's files, in order. Made for v1 or v2, then carried out for a fresh cgroup, or
 * for one in use, where every write can be taken back.
 */
#ifndef BERTH_RUNTIME_LIMITS_PLAN_H
#define BERTH_RUNTIME_LIMITS_PLAN_H

#include "common/cgroup.h"
#include "runtime/resources.h"

/* How the old value is found in what the file reads. */
enum limit_shape {
	SHAPE_WHOLE, /* the text is the value */
	SHAPE_LINE,  /* the line that starts with the key is written back as it is; `absent` where there is none */
	SHAPE_VALUE, /* "KEY VALUE": the value alone is written */
	SHAPE_NONE,  /* cannot be taken back: written when nothing else can fail any more */
};

struct limit_write {
	const char *file;    /* in the cgroup's directory */
	const char *what;    /* names the limit in messages */
	const char *given;   /* the text; NULL: `made` */
	char made[192];
	enum limit_shape shape;
	char key[72];        /* SHAPE_LINE, SHAPE_VALUE */
	char absent[128];    /* SHAPE_LINE: text that means "no limit" */
	char name[64];       /* holds a file name that was put together; else empty */
	char *old;           /* text that takes the write back; NULL: none */
	bool optional;       /* a file that only some kernels have, and whose absence weakens nothing */
	bool done;
};

struct limit_plan {
	const char *dir; /* of the cgroup */
	struct limit_write *at;
	size_t count, size;
	bool failed;     /* no memory; plan_run says so */
};

/* Adds a write of a text that outlives the plan, of a number, or of -1 as "max". Those that give no memory are noted in `failed`. */
struct limit_write *plan_text(struct limit_plan *p, const char *file, const char *text, const char *what);
struct limit_write *plan_number(struct limit_plan *p, const char *file, int64_t value, const char *what);
struct limit_write *plan_max(struct limit_plan *p, const char *file, int64_t value, const char *what);
/* Adds a write of a formatted text. */
struct limit_write *plan_format(struct limit_plan *p, const char *file, const char *what, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The write replaces one line of its file, which starts with `key`; `absent` means that there is no limit. */
void plan_keyed(struct limit_write *w, const char *key, const char *absent);
/* The name of a file that is put together from the page size. */
void plan_name(struct limit_write *w, const char *page_size, const char *rest);

/* Whether the cgroup has a file. */
bool plan_has(const struct limit_plan *p, const char *file);

/* Every file that must be there is. ENOTSUP. */
must_check int plan_check(const struct limit_plan *p, struct rt_error *err);
/* Notes what the files hold now. */
must_check int plan_remember(struct limit_plan *p, struct rt_error *err);
/* Writes in order. One that the kernel finds at odds with a later one (EINVAL, EBUSY) has a second chance at the end. */
must_check int plan_run(struct limit_plan *p, struct rt_error *err);
/* Takes back what was written, last first. */
void plan_undo(const struct limit_plan *p);
void plan_free(struct limit_plan *p);
#define cleanup_plan __attribute__((cleanup(plan_free)))

/* Adds the writes of one hierarchy: of the limits whose controllers are in the set. */
must_check int limits_plan_v1(struct limit_plan *p, unsigned controllers, const struct resources *o, struct rt_error *err);
must_check int limits_plan_v2(struct limit_plan *p, unsigned controllers, const struct resources *o, struct rt_error *err);
/* Those of the controllers that are the same on both: pids, cpuset, rdma. */
void limits_plan_alike(struct limit_plan *p, unsigned controllers, const struct resources *o);

#endif
