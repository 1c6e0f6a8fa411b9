/* The runtime's command line: every command's options, in any order and any spelling. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "runtime/options.h"

#define ARGUMENTS 24

static size_t commands(void)
{
	size_t n = 0;
	while (command_defs[n].name)
		n++;
	return n;
}

static void check(const struct container_options *o, const struct command_def *command, int next, int argc)
{
	expect(next > 0 && next <= argc && command_find(command->name) == command);
	for (size_t i = 0; i < o->args.count; i++)
		expect(o->args.at[i] != NULL);
	expect(!o->args.at || o->args.at[o->args.count] == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct rt_error err = { 0 };
	struct container_options o = { 0 };
	char *argv[ARGUMENTS + 2] = { "berth-runtime" };
	int argc = 1;
	const struct command_def *command = &command_defs[take_byte(&b) % commands()];
	enum options_until until = take_byte(&b) % 3;
	while (b.left && argc <= ARGUMENTS)
		argv[argc++] = take_line(&b, 300);
	int next = options_parse(command->options, until, 1, argc, argv, &o, &err);
	if (next >= 0)
		check(&o, command, next, argc);
	else
		expect(err.code && err.text[0]);
	options_free(&o);
	for (int i = 1; i < argc; i++)
		free(argv[i]);
	return 0;
}
