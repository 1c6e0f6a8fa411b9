#include "layer/sha256.h"

#include <stdbool.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t K[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
	0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
	0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
	0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
	0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
	0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static void hash_blocks_portably(uint32_t state[8], const unsigned char *p, size_t blocks)
{
	for (; blocks > 0; blocks--, p += 64) {
		uint32_t w[64], v[8];
		for (int i = 0; i < 16; i++)
			w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
		for (int i = 16; i < 64; i++) {
			uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
			uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
			w[i] = w[i - 16] + s0 + w[i - 7] + s1;
		}
		memcpy(v, state, sizeof v);
		for (int i = 0; i < 64; i++) {
			uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
			uint32_t t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + K[i] + w[i];
			uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
			uint32_t t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
			memmove(v + 1, v, 7 * sizeof *v);
			v[4] += t1;
			v[0] = t1 + t2;
		}
		for (int i = 0; i < 8; i++)
			state[i] += v[i];
	}
}

#ifdef __x86_64__
/* Four rounds with the message words m; the instructions keep the state as (a, b, e, f) and (c, d, g, h). */
#define ROUNDS(i, m)                                                                            \
	do {                                                                                    \
		__m128i k_ = _mm_add_epi32(m, _mm_loadu_si128((const __m128i *)(K + 4 * (i)))); \
		cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k_);                                   \
		abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k_, 0x0e));          \
	} while (0)

/* The four message words that follow those of a, b, c and d, in place of a. */
#define SCHEDULE(a, b, c, d) \
	(a = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8(d, c, 4)), d))

__attribute__((target("sha,sse4.1"))) static void hash_blocks_natively(uint32_t state[8], const unsigned char *p, size_t blocks)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i dcba = _mm_loadu_si128((const __m128i *)state), hgfe = _mm_loadu_si128((const __m128i *)(state + 4));
	__m128i badc = _mm_shuffle_epi32(dcba, 0xb1), efgh = _mm_shuffle_epi32(hgfe, 0x1b);
	__m128i abef = _mm_alignr_epi8(badc, efgh, 8), cdgh = _mm_blend_epi16(efgh, badc, 0xf0);
	for (; blocks > 0; blocks--, p += 64) {
		const __m128i abef_before = abef, cdgh_before = cdgh;
		__m128i m[4];
		for (int i = 0; i < 4; i++)
			m[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p + 16 * i)), swap);
		ROUNDS(0, m[0]);
		ROUNDS(1, m[1]);
		ROUNDS(2, m[2]);
		ROUNDS(3, m[3]);
#pragma GCC unroll 3
		for (int i = 4; i < 16; i += 4) {
			ROUNDS(i, SCHEDULE(m[0], m[1], m[2], m[3]));
			ROUNDS(i + 1, SCHEDULE(m[1], m[2], m[3], m[0]));
			ROUNDS(i + 2, SCHEDULE(m[2], m[3], m[0], m[1]));
			ROUNDS(i + 3, SCHEDULE(m[3], m[0], m[1], m[2]));
		}
		abef = _mm_add_epi32(abef, abef_before);
		cdgh = _mm_add_epi32(cdgh, cdgh_before);
	}
	__m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
	_mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static bool has_instructions(void)
{
	unsigned a, b, c, d;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29) && __get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 19) && (c & 1u << 9);
}
#endif

static void hash_blocks(uint32_t state[8], const unsigned char *p, size_t blocks)
{
#ifdef __x86_64__
	static int native = -1;
	int known = __atomic_load_n(&native, __ATOMIC_RELAXED);
	if (known < 0) {
		known = has_instructions();
		__atomic_store_n(&native, known, __ATOMIC_RELAXED);
	}
	if (known) {
		hash_blocks_natively(state, p, blocks);
		return;
	}
#endif
	hash_blocks_portably(state, p, blocks);
}

void sha256_init(struct sha256 *s)
{
	*s = (struct sha256){ .state = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
}

void sha256_update(struct sha256 *s, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	size_t held = s->bytes % 64;
	s->bytes += len;
	if (held > 0) {
		size_t part = len < 64 - held ? len : 64 - held;
		memcpy(s->block + held, p, part);
		p += part;
		len -= part;
		if (held + part < 64)
			return;
		hash_blocks(s->state, s->block, 1);
	}
	hash_blocks(s->state, p, len / 64);
	memcpy(s->block, p + len / 64 * 64, len % 64);
}

void sha256_text(struct sha256 *s, char out[SHA256_TEXT])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char end[128] = { 0x80 };
	uint64_t bits = s->bytes * 8;
	size_t pad = (s->bytes % 64 < 56 ? 56 : 120) - s->bytes % 64;
	for (int i = 0; i < 8; i++)
		end[pad + (size_t)i] = (unsigned char)(bits >> (56 - 8 * i));
	sha256_update(s, end, pad + 8);
	memcpy(out, "sha256:", 7);
	for (int i = 0; i < SHA256_BYTES; i++) {
		unsigned char c = (unsigned char)(s->state[i / 4] >> (24 - 8 * (i % 4)));
		out[7 + 2 * i] = hex[c >> 4];
		out[8 + 2 * i] = hex[c & 15];
	}
	out[SHA256_TEXT - 1] = 0;
}
