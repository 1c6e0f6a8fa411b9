/* The parts of linux.resources that name a device of the host: disks, huge pages, network interfaces, RDMA adapters. */
#include <errno.h>
#include <string.h>

#include "runtime/config.h"

static int parse_device_numbers(const struct json *n, const char *what, uint32_t *major, uint32_t *minor, struct rt_error *err)
{
	int64_t ma = -1, mi = -1;
	int r;
	if ((r = config_int(n, "major", 0, UINT32_MAX, &ma, err)) < 0 || (r = config_int(n, "minor", 0, UINT32_MAX, &mi, err)) < 0)
		return r;
	if (ma < 0 || mi < 0)
		return rt_fail(err, EINVAL, "config.json: blockIO.%s needs major and minor", what);
	*major = (uint32_t)ma;
	*minor = (uint32_t)mi;
	return 0;
}

/* 0 is how engines write "not set". */
static int parse_weight(const struct json *n, const char *key, int64_t *out, struct rt_error *err)
{
	int64_t v = 0;
	int r = config_int(n, key, 0, 1000, &v, err);
	if (r == 0 && v > 0 && v < 10)
		return rt_fail(err, EINVAL, "config.json: blockIO.%s must be from 10 to 1000", key);
	*out = v ? v : LIMIT_UNSET;
	return r;
}

static int parse_weights(struct config *c, const struct json *block, struct rt_error *err)
{
	struct resources *o = &c->resources;
	const struct json *list;
	int r = config_list(block, "weightDevice", &list, err);
	if (r < 0)
		return r;
	o->block_weights = config_alloc(c, list ? list->count : 0, sizeof *o->block_weights);
	if (!o->block_weights)
		return rt_fail(err, ENOMEM, "config.json: blockIO.weightDevice");
	json_each(n, list) {
		struct block_weight *w = &o->block_weights[o->block_weight_count++];
		if ((r = parse_device_numbers(n, "weightDevice", &w->major, &w->minor, err)) < 0 || (r = parse_weight(n, "weight", &w->weight, err)) < 0 ||
		    (r = parse_weight(n, "leafWeight", &w->leaf_weight, err)) < 0)
			return r;
	}
	return 0;
}

static int parse_throttles(struct config *c, const struct json *block, struct rt_error *err)
{
	static const char *const keys[THROTTLE_KINDS] = {
		[THROTTLE_READ_BPS] = "throttleReadBpsDevice",   [THROTTLE_WRITE_BPS] = "throttleWriteBpsDevice",
		[THROTTLE_READ_IOPS] = "throttleReadIOPSDevice", [THROTTLE_WRITE_IOPS] = "throttleWriteIOPSDevice",
	};
	struct resources *o = &c->resources;
	const struct json *lists[THROTTLE_KINDS];
	size_t count = 0;
	int r;
	for (int k = 0; k < THROTTLE_KINDS; k++) {
		if ((r = config_list(block, keys[k], &lists[k], err)) < 0)
			return r;
		count += lists[k] ? lists[k]->count : 0;
	}
	o->block_throttles = config_alloc(c, count, sizeof *o->block_throttles);
	if (!o->block_throttles)
		return rt_fail(err, ENOMEM, "config.json: blockIO throttles");
	for (int k = 0; k < THROTTLE_KINDS; k++) {
		json_each(n, lists[k]) {
			struct block_throttle *t = &o->block_throttles[o->block_throttle_count++];
			t->kind = (enum throttle_kind)k;
			if ((r = parse_device_numbers(n, keys[k], &t->major, &t->minor, err)) < 0)
				return r;
			if (!json_u64(json_get(n, "rate"), &t->rate))
				return rt_fail(err, EINVAL, "config.json: blockIO.%s needs a rate", keys[k]);
		}
	}
	return 0;
}

/* "2MB", as the kernel names its files: no other characters, since a file name is made of it. */
static bool is_page_size(const char *s)
{
	size_t digits = strspn(s, "0123456789");
	return digits > 0 && digits < 8 && strlen(s) == digits + 2 && strchr("KMG", s[digits]) && s[digits + 1] == 'B';
}

static int parse_huge_pages(struct config *c, const struct json *res, struct rt_error *err)
{
	struct resources *o = &c->resources;
	const struct json *list;
	int r = config_list(res, "hugepageLimits", &list, err);
	if (r < 0)
		return r;
	o->huge_pages = config_alloc(c, list ? list->count : 0, sizeof *o->huge_pages);
	if (!o->huge_pages)
		return rt_fail(err, ENOMEM, "config.json: hugepageLimits");
	json_each(n, list) {
		struct huge_page_limit *h = &o->huge_pages[o->huge_page_count++];
		h->page_size = json_str(json_get(n, "pageSize"), "");
		if (!is_page_size(h->page_size) || !json_u64(json_get(n, "limit"), &h->limit))
			return rt_fail(err, EINVAL, "config.json: hugepageLimits need a pageSize like 2MB and a limit in bytes, not \"%s\"", h->page_size);
	}
	return 0;
}

static int parse_network(struct config *c, const struct json *res, struct rt_error *err)
{
	struct resources *o = &c->resources;
	const struct json *network, *list;
	int r;
	if ((r = config_object(res, "network", &network, err)) < 0 || (r = config_int(network, "classID", 0, UINT32_MAX, &o->network_class, err)) < 0 ||
	    (r = config_list(network, "priorities", &list, err)) < 0)
		return r;
	o->network_priorities = config_alloc(c, list ? list->count : 0, sizeof *o->network_priorities);
	if (!o->network_priorities)
		return rt_fail(err, ENOMEM, "config.json: network.priorities");
	json_each(n, list) {
		struct interface_priority *p = &o->network_priorities[o->network_priority_count++];
		int64_t priority = -1;
		if ((r = config_string(n, "name", &p->name, err)) < 0 || (r = config_int(n, "priority", 0, UINT32_MAX, &priority, err)) < 0)
			return r;
		if (!p->name || !*p->name || strlen(p->name) > 15 || strpbrk(p->name, " \n/") || priority < 0)
			return rt_fail(err, EINVAL, "config.json: network.priorities need the name of an interface and a priority");
		p->priority = (uint32_t)priority;
	}
	return 0;
}

static int parse_rdma(struct config *c, const struct json *res, struct rt_error *err)
{
	struct resources *o = &c->resources;
	const struct json *map;
	int r = config_object(res, "rdma", &map, err);
	if (r < 0)
		return r;
	o->rdma = config_alloc(c, map ? map->count : 0, sizeof *o->rdma);
	if (!o->rdma)
		return rt_fail(err, ENOMEM, "config.json: rdma");
	json_each(n, map) {
		struct rdma_limit *d = &o->rdma[o->rdma_count++];
		*d = (struct rdma_limit){ n->key, LIMIT_UNSET, LIMIT_UNSET };
		if ((r = config_int(n, "hcaHandles", 0, UINT32_MAX, &d->handles, err)) < 0 || (r = config_int(n, "hcaObjects", 0, UINT32_MAX, &d->objects, err)) < 0)
			return r;
		if (!*n->key || strlen(n->key) > 63 || strpbrk(n->key, " \n") || (d->handles == LIMIT_UNSET && d->objects == LIMIT_UNSET))
			return rt_fail(err, EINVAL, "config.json: rdma \"%s\" needs hcaHandles or hcaObjects", n->key);
	}
	return 0;
}

int config_parse_io(struct config *c, const struct json *res, struct rt_error *err)
{
	const struct json *block;
	int r;
	if ((r = config_object(res, "blockIO", &block, err)) < 0 || (r = parse_weight(block, "weight", &c->resources.block_weight, err)) < 0 ||
	    (r = parse_weight(block, "leafWeight", &c->resources.block_leaf_weight, err)) < 0 || (r = parse_weights(c, block, err)) < 0 ||
	    (r = parse_throttles(c, block, err)) < 0 || (r = parse_huge_pages(c, res, err)) < 0 || (r = parse_network(c, res, err)) < 0)
		return r;
	return parse_rdma(c, res, err);
}
