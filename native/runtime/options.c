#include "runtime/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct option_def *find(const struct option_def *defs, const char *name, size_t len)
{
	for (; defs->name; defs++) {
		if ((strlen(defs->name) == len && !memcmp(defs->name, name, len)) || (len == 1 && defs->letter == *name))
			return defs;
	}
	return NULL;
}

static int append(struct text_list *l, const char *value, struct rt_error *err)
{
	const char **grown = reallocarray(l->at, l->count + 2, sizeof *grown);
	if (!grown)
		return rt_fail(err, ENOMEM, "read the command line");
	l->at = grown;
	l->at[l->count++] = value;
	l->at[l->count] = NULL;
	return 0;
}

static int set_count(const struct option_def *d, const char *value, int *out, struct rt_error *err)
{
	char *end;
	long v = strtol(value, &end, 10);
	if (!*value || *end || v < 0 || v > OPTIONS_MAX_COUNT)
		return rt_fail(err, EINVAL, "--%s must be a number from 0 to %d, not \"%s\"", d->name, OPTIONS_MAX_COUNT, value);
	*out = (int)v;
	return 0;
}

static int set_flag(const struct option_def *d, const char *value, bool *out, struct rt_error *err)
{
	bool yes = !value || !strcmp(value, "true");
	if (!yes && strcmp(value, "false"))
		return rt_fail(err, EINVAL, "--%s is true or false, not \"%s\"", d->name, value);
	*out = yes;
	return 0;
}

static int set(const struct option_def *d, const char *value, struct container_options *o, struct rt_error *err)
{
	void *field = (char *)o + d->at;
	bool unused;
	switch (d->kind) {
	case OPTION_FLAG:
		return set_flag(d, value, field, err);
	case OPTION_IGNORED:
		return set_flag(d, value, &unused, err);
	case OPTION_TEXT:
		*(const char **)field = value;
		return 0;
	case OPTION_LIST:
		return append(field, value, err);
	case OPTION_COUNT:
		return set_count(d, value, field, err);
	}
	return -EINVAL;
}

static int parse_option(const struct option_def *defs, int *i, int argc, char **argv, struct container_options *o, struct rt_error *err)
{
	const char *word = argv[*i], *name = word + 1 + (word[1] == '-');
	size_t len = strcspn(name, "=");
	const struct option_def *d = find(defs, name, len);
	if (!d && (!strcmp(name, "help") || !strcmp(name, "h"))) {
		o->help = true;
		return 0;
	}
	if (!d)
		return rt_fail(err, EINVAL, "unknown option %s", word);
	const char *value = name[len] ? name + len + 1 : NULL;
	if (!value && d->kind != OPTION_FLAG && d->kind != OPTION_IGNORED) {
		if (*i + 1 == argc)
			return rt_fail(err, EINVAL, "%s needs a value", word);
		value = argv[++*i];
	}
	return set(d, value, o, err);
}

int options_parse(const struct option_def *defs, enum options_until until, int i, int argc, char **argv, struct container_options *o, struct rt_error *err)
{
	bool only_operands = false;
	for (; i < argc; i++) {
		int r = 0;
		if (only_operands || argv[i][0] != '-' || !argv[i][1]) {
			if (until == OPTIONS_OPERAND)
				return i;
			only_operands |= until == OPTIONS_REST;
			r = append(&o->args, argv[i], err);
		} else if (!strcmp(argv[i], "--")) {
			only_operands = true;
		} else {
			r = parse_option(defs, &i, argc, argv, o, err);
		}
		if (r < 0)
			return r;
	}
	return i;
}

void options_free(struct container_options *o)
{
	struct text_list *lists[] = { &o->args, &o->env, &o->groups, &o->caps, &o->subcgroups };
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		free(lists[i]->at);
		*lists[i] = (struct text_list){ 0 };
	}
}

const struct command_def *command_find(const char *name)
{
	for (const struct command_def *c = command_defs; c->name; c++) {
		if (!strcmp(c->name, name))
			return c;
	}
	return NULL;
}

static void print_options(const struct option_def *defs, FILE *to)
{
	for (; defs->name; defs++) {
		char left[64], letter[8] = "";
		if (defs->letter)
			snprintf(letter, sizeof letter, ", -%c", defs->letter);
		snprintf(left, sizeof left, "--%s%s%s%s", defs->name, letter, defs->value ? " " : "", defs->value ? defs->value : "");
		fprintf(to, "   %-34s %s\n", left, defs->help);
	}
	fprintf(to, "   %-34s %s\n", "--help, -h", "print this");
}

void options_print_help(const struct command_def *command, FILE *to)
{
	if (command) {
		fprintf(to, "NAME:\n   berth-runtime %s - %s\n\nUSAGE:\n   berth-runtime %s [options] %s\n", command->name, command->help, command->name, command->operands);
		fprintf(to, "\nOPTIONS:\n");
		print_options(command->options, to);
		return;
	}
	fprintf(to, "NAME:\n   berth-runtime - an OCI runtime\n\nUSAGE:\n   berth-runtime [options] COMMAND [options] [arguments]\n\nCOMMANDS:\n");
	for (const struct command_def *c = command_defs; c->name; c++)
		fprintf(to, "   %-10s %s\n", c->name, c->help);
	fprintf(to, "\nOPTIONS:\n");
	print_options(global_options, to);
}
