/* The small grammars: names, ids, paths, and the kernel's own tables. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cgroup.h"
#include "common/scope.h"
#include "fuzz/fuzz.h"
#include "layer/idmap.h"
#include "layer/path.h"
#include "runtime/caps.h"
#include "runtime/signals.h"
#include "runtime/state.h"
#include "runtime/syscalls.h"

static void check_path(const char *text)
{
	struct rt_error err = { 0 };
	char normal[LAYER_PATH_MAX], again[LAYER_PATH_MAX];
	if (path_normalize(text, normal, &err) < 0) {
		expect(err.code == EPROTO || err.code == EFBIG);
		return;
	}
	size_t n = strlen(normal);
	expect(n < LAYER_PATH_MAX && normal[0] != '/' && (n == 0 || normal[n - 1] != '/') && !strstr(normal, "//"));
	expect(strcmp(normal, "..") && strncmp(normal, "../", 3) && !strstr(normal, "/../") && (n < 3 || strcmp(normal + n - 3, "/..")));
	expect(!strchr(normal + path_base(normal), '/'));
	expect(path_normalize(normal, again, &err) == 0 && !strcmp(normal, again));
}

static void check_ids(const char *text)
{
	struct rt_error err = { 0 };
	struct idmap map;
	if (idmap_parse(text, &map, &err) == 0)
		expect(map.count > 0 && (uint64_t)map.first + map.count <= UINT32_MAX && (uint64_t)map.base + map.count <= UINT32_MAX);
	if (state_check_id(text, &err) == 0)
		expect(*text && strlen(text) <= 200 && !strchr(text, '/') && strcmp(text, ".") && strcmp(text, ".."));
}

static void check_names(const char *text)
{
	int cap = cap_from_name(text), sig = signal_from_text(text);
	const struct syscall_entry *e = syscall_find(text, NULL);
	/* Where one starts to look makes no difference to what is found. */
	expect(syscall_find(text, syscall_at(strlen(text) * 7 % 400)) == e);
	expect(cap >= -1 && cap < 64 && sig >= -1 && sig <= 64);
	expect(!e || !strcmp(e->name, text));
}

static void check_cgroups(const char *text)
{
	struct cg_layout l;
	struct rt_error err = { 0 };
	char dir[600];
	cg_parse_mountinfo(text, &l);
	expect(l.count >= 0 && l.count <= CG_MAX_HIERARCHIES && l.unified >= -1 && l.unified < l.count);
	for (int c = 0; c < CG_CONTROLLERS; c++)
		expect(l.of[c] >= -1 && l.of[c] < l.count);
	for (int i = 0; i < l.count; i++) {
		expect(strnlen(l.hierarchies[i].mount, CG_MOUNT_MAX) < CG_MOUNT_MAX);
		if (cg_dir(&l.hierarchies[i], text, dir, sizeof dir, &err) == 0)
			expect(!strstr(text, "/../"));
	}
	cg_keyed(text, "oom_kill");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	uint8_t which = take_byte(&b);
	cleanup_free char *text = take_text(&b);
	switch (which & 3) {
	case 0:
		check_path(text);
		break;
	case 1:
		check_ids(text);
		break;
	case 2:
		check_names(text);
		break;
	default:
		check_cgroups(text);
	}
	return 0;
}
