/* The part of inflating on which its speed depends: a block's literals and matches. */
#ifndef BERTH_LAYER_INFLATE_CODES_H
#define BERTH_LAYER_INFLATE_CODES_H

#include "layer/inflate-bits.h"

/* Decodes by the state's two tables up to the block's end. EPROTO: a code without a meaning, or a match with what was before the member's start. */
must_check int inflate_codes(struct inflate *s);

#endif
