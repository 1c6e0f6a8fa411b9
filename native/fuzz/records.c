/* What the native programs write for each other and for the agent: state.json, the runtime's log, the pid file, the exit record. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/scope.h"
#include "fuzz/fuzz.h"
#include "runtime/state.h"
#include "shim/ociruntime.h"
#include "shim/record.h"

static void check_state(int dir, struct bytes *b)
{
	struct rt_error err = { 0 };
	struct state s;
	fuzz_write(dir, "state.json", b->at, b->left);
	if (state_load(dir, &s, &err) == 0) {
		struct rt_error again = { 0 };
		cleanup_free char *text = state_to_json(&s, STATUS_STOPPED);
		cleanup_json struct json_doc *doc = NULL;
		expect(text && json_parse(text, strlen(text), &doc, &again) == 0);
	} else {
		expect(err.code && err.text[0]);
	}
	state_free(&s);
}

static void check_log(int dir, struct bytes *b)
{
	struct rt_error err = { 0 };
	fuzz_write(dir, OCI_LOG, b->at, b->left);
	oci_blame(dir, "no reason", &err);
	expect(err.code == EPROTO && strnlen(err.text, sizeof err.text) < sizeof err.text && err.text[0]);
}

static void check_pid(int dir, struct bytes *b)
{
	struct rt_error err = { 0 };
	pid_t pid = 0;
	fuzz_write(dir, OCI_PID, b->at, b->left);
	expect(oci_read_pid(dir, &pid, &err) < 0 ? err.code != 0 : pid > 1);
}

static void check_exit(struct bytes *b)
{
	struct exit_record r = { .started_at = "2026-01-31T23:59:59.000000001Z", .finished_at = "2026-01-31T23:59:59.000000001Z" };
	struct rt_error err = { 0 };
	char text[RECORD_MAX];
	cleanup_json struct json_doc *doc = NULL;
	r.status = (int)take_number(b, 4);
	r.stopped_by = take_byte(b) & 3;
	r.oom_kills = take_number(b, 8);
	r.peak_memory_bytes = take_number(b, 8);
	r.cpu_time_us = take_number(b, 8);
	r.log_bytes = take_number(b, 8);
	r.log_dropped_bytes = take_number(b, 8);
	size_t n = record_format(&r, text);
	expect(n < RECORD_MAX && json_parse(text, n, &doc, &err) == 0);
	/* Exactly one of the two. */
	expect(!json_get(json_root(doc), "exitCode") != !json_get(json_root(doc), "signal"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	int dir = fuzz_directory();
	switch (take_byte(&b) & 3) {
	case 0:
		check_state(dir, &b);
		break;
	case 1:
		check_log(dir, &b);
		break;
	case 2:
		check_pid(dir, &b);
		break;
	default:
		check_exit(&b);
	}
	return 0;
}
