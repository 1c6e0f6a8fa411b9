/* Reads linux.seccomp JSON on stdin, prints the compiled filter: {"program":[[code,jt,jf,k],...],"syscalls":[[name,x86-64,i386,x32],...]} */
#include <stdio.h>

#include "common/fs.h"
#include "common/scope.h"
#include "runtime/seccomp.h"
#include "runtime/syscalls.h"

int main(void)
{
	struct rt_error err = { 0 };
	cleanup_free char *text = NULL;
	cleanup_json struct json_doc *doc = NULL;
	struct seccomp_filter filter = { 0 };
	size_t len;
	if (fs_read_fd(0, "stdin", JSON_MAX_BYTES, &text, &len, &err) < 0 || json_parse(text, len, &doc, &err) < 0 ||
	    seccomp_compile(json_root(doc), &filter, &err) < 0) {
		char message[1024];
		rt_error_message(&err, message, sizeof message);
		fprintf(stderr, "%s\n", message);
		return 1;
	}
	printf("{\"program\":[");
	for (int i = 0; i < filter.length; i++) {
		const struct sock_filter *f = &filter.program[i];
		printf("%s[%u,%u,%u,%u]", i ? "," : "", f->code, f->jt, f->jf, f->k);
	}
	printf("],\"syscalls\":[");
	const struct syscall_entry *e;
	for (size_t i = 0; (e = syscall_at(i)); i++)
		printf("%s[\"%s\",%d,%d,%d]", i ? "," : "", e->name, e->number[0], e->number[1], e->number[2]);
	printf("]}\n");
	seccomp_free(&filter);
	return 0;
}
