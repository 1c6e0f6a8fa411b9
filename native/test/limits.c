/* limits CGROUP_PATH RESOURCES_JSON: changes the limits of a cgroup in use; prints what was refused. */
#include <stdio.h>
#include <string.h>

#include "runtime/config.h"
#include "runtime/limits.h"

int main(int argc, char **argv)
{
	struct rt_error err = { 0 };
	struct config c = { 0 };
	struct cg_layout layout;
	if (argc != 3)
		return 2;
	if (json_parse(argv[2], strlen(argv[2]), &c.doc, &err) < 0 || config_parse_resources(&c, json_root(c.doc), &err) < 0 || cg_detect(&layout, &err) < 0 ||
	    limits_update(&layout, argv[1], &c.resources, &err) < 0) {
		char message[RT_ERROR_TEXT + 128];
		rt_error_message(&err, message, sizeof message);
		fprintf(stderr, "%s\n", message);
		config_free(&c);
		return 1;
	}
	config_free(&c);
	return 0;
}
