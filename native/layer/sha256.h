/* SHA-256 (FIPS 180-4), by the processor's own instructions where it has them. */
#ifndef BERTH_LAYER_SHA256_H
#define BERTH_LAYER_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_TEXT (7 + 2 * SHA256_BYTES + 1) /* "sha256:", hex, NUL */

struct sha256 {
	uint32_t state[8];
	uint64_t bytes;
	unsigned char block[64]; /* holds bytes % 64 */
};

void sha256_init(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *bytes, size_t len);

/* Ends the hash and writes it as an OCI digest, "sha256:" and lower-case hex. */
void sha256_text(struct sha256 *s, char out[SHA256_TEXT]);

#endif
