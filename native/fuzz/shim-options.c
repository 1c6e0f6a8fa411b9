/* The shim's command line. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "shim/options.h"

#define ARGUMENTS 40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct rt_error err = { 0 };
	struct options o;
	char *argv[ARGUMENTS + 2] = { "berth-shim" };
	int argc = 1;
	while (b.left && argc <= ARGUMENTS)
		argv[argc++] = take_line(&b, 5000);
	if (options_parse(argc, argv, &o, &err) == 0) {
		expect(*o.id && *o.id != '-' && *o.runtime && o.runtime_root[0] == '/' && o.bundle[0] == '/' && o.dir[0] == '/' && o.cgroup[0] == '/');
		expect(!o.lease || o.lease[0] == '/');
		expect(o.stop_signal >= 1 && o.stop_signal <= 64);
	} else {
		expect(err.code && err.text[0]);
	}
	for (int i = 1; i < argc; i++)
		free(argv[i]);
	return 0;
}
