#include "shim/park.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/scope.h"
#include "shim/clock.h"
#include "shim/loop.h"
#include "shim/ociruntime.h"
#include "shim/shim.h"

/* Whoever had it parked says so at once. */
#define HOLD_LIMIT (10 * CLOCK_SECOND)

static bool parked_or_done(const struct shim *s)
{
	return s->parked || s->runtime == 0;
}

static bool settled(const struct shim *s)
{
	return s->claimed || s->runtime == 0 || (s->held && !control_is_held(&s->control));
}

static bool held_or_settled(const struct shim *s)
{
	return s->held || settled(s);
}

int park_make(struct shim *s, int out_fd, int err_fd, struct rt_error *err)
{
	int claim[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, claim) < 0)
		return rt_fail_errno(err, "making a socket pair");
	s->claim_fd = claim[0];
	s->runtime_claim_fd = claim[1];
	int r = shim_start_runtime(s, OCI_PARK, out_fd, err_fd, err);
	close(claim[1]);
	s->runtime_claim_fd = -1;
	if (r < 0)
		return r;
	loop_until(s, parked_or_done, clock_add(clock_boot(), SHIM_COMMAND_LIMIT));
	if (s->runtime == 0 || !s->parked)
		return shim_end_runtime(s, OCI_PARK, 0, err);
	return oci_read_pid(s->dirfd, &s->pid, err);
}

int park_await(struct shim *s, struct rt_error *err)
{
	loop_until(s, held_or_settled, clock_add(clock_boot(), HOLD_LIMIT));
	if (s->held)
		loop_until(s, settled, CLOCK_NEVER);
	s->parked = false;
	if (s->claimed && s->runtime)
		return 0;
	/* The runtime takes the end of this for a word. */
	scope_close(&s->claim_fd);
	s->claim_fd = -1;
	int r = shim_end_runtime(s, OCI_PARK, SHIM_COMMAND_LIMIT, err);
	if (s->claimed)
		return r < 0 ? r : rt_fail(err, EPROTO, "the parked container was gone");
	*err = (struct rt_error){ 0 };
	return rt_fail(err, ECANCELED, "nobody claimed the parked container");
}

int park_run(struct shim *s, struct rt_error *err)
{
	char word = 'C';
	int r = shim_begin(s, err);
	if (r < 0)
		return r;
	if (retry_eintr(send(s->claim_fd, &word, 1, MSG_NOSIGNAL)) != 1)
		rt_fail_errno(err, "claiming the parked container");
	/* Its reason, if it has ended, is nearer to the cause. */
	r = shim_end_runtime(s, OCI_PARK, SHIM_COMMAND_LIMIT, err);
	scope_close(&s->claim_fd);
	s->claim_fd = -1;
	return r < 0 ? r : -err->code;
}

static int take_number(const struct json *claim, const char *field, uint64_t min, uint64_t max, uint64_t *out, struct rt_error *err)
{
	uint64_t value;
	if (!json_u64(json_get(claim, field), &value) || value < min || value > max)
		return rt_fail(err, EINVAL, "%s wants a whole number from %llu to %llu", field, (unsigned long long)min, (unsigned long long)max);
	*out = value;
	return 0;
}

int park_take_options(struct shim *s, const struct json *claim, struct rt_error *err)
{
	struct options o = *s->opt;
	uint64_t signal_number;
	int r;
	if ((r = take_number(claim, "timeoutMs", 0, OPTIONS_MAX_MS, &o.timeout_ms, err)) < 0 ||
	    (r = take_number(claim, "stopGraceMs", 0, OPTIONS_MAX_MS, &o.stop_grace_ms, err)) < 0 ||
	    (r = take_number(claim, "stopSignal", 1, 64, &signal_number, err)) < 0 || (r = take_number(claim, "logMaxBytes", 0, UINT64_MAX, &o.log_max_bytes, err)) < 0)
		return r;
	const struct json *leased = json_get(claim, "leased");
	if (!leased || leased->type != JSON_BOOL || (leased->boolean && !s->lease))
		return rt_fail(err, EINVAL, "leased wants to be true or false, and --lease to be given for true");
	o.stop_signal = (int)signal_number;
	if (!leased->boolean)
		s->lease = NULL;
	s->log.max_bytes = o.log_max_bytes;
	s->own_options = o;
	s->opt = &s->own_options;
	return 0;
}
