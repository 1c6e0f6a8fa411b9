/*
 * The command line's grammar, runc's: `--name VALUE`, `--name=VALUE`, `-n VALUE`, `--flag`, `--flag=false`, single dashes before
 * long names too. Options of a command stand anywhere among its operands, except where everything after the first operand
 * belongs to somebody else (`exec`, `ps`). `--` ends them. Every table has --help and -h besides.
 */
#ifndef BERTH_RUNTIME_OPTIONS_H
#define BERTH_RUNTIME_OPTIONS_H

#include <stdio.h>

#include "common/error.h"
#include "runtime/container.h"

/* The most descriptors that anybody may hand to a container. */
#define OPTIONS_MAX_COUNT 1024

enum option_kind {
	OPTION_FLAG,    /* bool */
	OPTION_TEXT,    /* const char * */
	OPTION_LIST,    /* struct text_list; may come again */
	OPTION_COUNT,   /* int, 0 to 1024 */
	OPTION_IGNORED, /* a flag that engines pass, and whose promise holds anyway */
};

struct option_def {
	const char *name;  /* without dashes; NULL ends a table */
	char letter;       /* 0: none */
	enum option_kind kind;
	size_t at;         /* offset in struct container_options */
	const char *value; /* what its value is called in the help */
	const char *help;
};

struct command_def {
	const char *name;
	const char *operands; /* for the help */
	int min, max;         /* operands; max -1: everything after the first is handed on as it is */
	const struct option_def *options;
	int (*run)(const struct container_options *o, int *status, struct rt_error *err);
	int failure;          /* exit status of a failure */
	const char *help;
};

/* The commands, ended by one without a name, and the options that stand before them. */
extern const struct command_def command_defs[];
extern const struct option_def global_options[];

/* NULL when there is no such command. */
const struct command_def *command_find(const char *name);

enum options_until {
	OPTIONS_ALL,     /* operands and options in any order */
	OPTIONS_OPERAND, /* stops before the first operand */
	OPTIONS_REST,    /* from the first operand on, all words are operands */
};

/*
 * Reads argv[i] and on into *o; operands go to o->args, freed with options_free. Returns the index of the first word that was
 * not read, or -errno.
 */
must_check int options_parse(const struct option_def *defs, enum options_until until, int i, int argc, char **argv, struct container_options *o,
			     struct rt_error *err);
void options_free(struct container_options *o);

/* Of one command, or of the program. */
void options_print_help(const struct command_def *command, FILE *to);

#endif
