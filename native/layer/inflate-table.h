/* Tables that decode deflate's Huffman codes, several bits at a time. */
#ifndef BERTH_LAYER_INFLATE_TABLE_H
#define BERTH_LAYER_INFLATE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * One entry: what the next bits of the input mean.
 *
 *     bits 0-7    bits taken in all, the code's and those of the extra bits behind it: 28 at most; of a link, none
 *     bits 8-11   length of the code alone; of a link, bits that index the second table
 *     bits 12-14  kind
 *     bits 16-30  the literal, the base of the length or distance, or where the second table begins
 *     bit 31      a literal
 */
typedef uint32_t inflate_entry;

enum inflate_kind { INFLATE_LITERAL, INFLATE_COPY, INFLATE_END, INFLATE_LINK, INFLATE_INVALID };

#define ENTRY_TAKEN(e) ((e)&63) /* what a processor makes of a shift's count anyway */
#define ENTRY_LENGTH(e) ((e) >> 8 & 15)
#define ENTRY_KIND(e) ((e) >> 12 & 7)
#define ENTRY_VALUE(e) ((e) >> 16 & 0x7fff)
#define ENTRY_IS_LITERAL(e) ((e) >> 31)

#define INFLATE_LITLEN_BITS 11
#define INFLATE_DISTANCE_BITS 9
#define INFLATE_CODELEN_BITS 7

/* Room for the first table and for every second one that valid codes of at most 15 bits can ask for. */
#define INFLATE_LITLEN_SIZE (2048 + 2048)
#define INFLATE_DISTANCE_SIZE (512 + 1024)
#define INFLATE_CODELEN_SIZE 128

/*
 * Each builds a table from code lengths (0: the symbol does not occur). False: the lengths are no prefix code. As RFC 1951 has it, a code
 * may be incomplete only where it has one symbol of one bit, and distances may have none at all.
 */
bool inflate_build_litlen(inflate_entry *table, const uint8_t *lengths, unsigned count);
bool inflate_build_distance(inflate_entry *table, const uint8_t *lengths, unsigned count);
bool inflate_build_codelen(inflate_entry *table, const uint8_t *lengths, unsigned count);

#endif
