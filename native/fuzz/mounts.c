/* Lists of mount options: the last of two that contradict each other counts, and nothing is both set and cleared. */
#include <linux/mount.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "runtime/mount-options.h"

#define OPTIONS 40

static void check(const struct strings *options, const struct mount_options *o)
{
	size_t data = 0;
	int readonly = -1;
	for (size_t i = 0; i < options->count; i++) {
		readonly = !strcmp(options->at[i], "ro") ? 1 : !strcmp(options->at[i], "rw") ? 0 : readonly;
	}
	while (o->data[data])
		data++;
	expect(data < MOUNT_DATA_MAX && !o->sb_flags[3]);
	expect(!(o->bind && data));
	/* Atime is a field of several bits: all are cleared, then one is set. */
	expect(!(o->set & o->clear & ~(uint64_t)MOUNT_ATTR__ATIME) && !(o->set_tree & o->clear_tree & ~(uint64_t)MOUNT_ATTR__ATIME));
	if (readonly >= 0)
		expect(!!(o->set & MOUNT_ATTR_RDONLY) == readonly && !!(o->clear & MOUNT_ATTR_RDONLY) == !readonly);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = { NULL, "bind", "tmpfs", "proc" };
	struct bytes b = { data, size };
	struct rt_error err = { 0 };
	struct mount_options o;
	char *options[OPTIONS + 1] = { NULL };
	struct mount_spec m = { .destination = "/m", .type = types[take_byte(&b) & 3], .options.at = (const char **)options };
	while (b.left && m.options.count < OPTIONS)
		options[m.options.count++] = take_line(&b, 300);
	if (mount_options_parse(&m, &o, &err) == 0)
		check(&m.options, &o);
	else
		expect(err.code && err.text[0]);
	for (size_t i = 0; i < m.options.count; i++)
		free(options[i]);
	return 0;
}
