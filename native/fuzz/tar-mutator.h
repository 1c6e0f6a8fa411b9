/*
 * A mutator for tar archives. A header that is changed blindly fails its checksum, and nothing behind the check is ever
 * reached: most of the time this one makes the checksums right again, and now and then it makes a header another's kind.
 * Linking it in is enough; libFuzzer finds it by its name.
 */
#ifndef BERTH_FUZZ_TAR_MUTATOR_H
#define BERTH_FUZZ_TAR_MUTATOR_H

#include <stddef.h>
#include <stdint.h>

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
/* libFuzzer's own. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

#endif
