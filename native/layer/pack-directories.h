/* What is known of an image only when all of the archive has been read: its directories, its counts of links, and its superblock. */
#ifndef BERTH_LAYER_PACK_DIRECTORIES_H
#define BERTH_LAYER_PACK_DIRECTORIES_H

#include "layer/erofs-image.h"
#include "layer/names.h"

/* Completes the image. EFBIG when the root directory's attributes do not fit the first block. */
must_check int pack_directories(struct names *n, struct erofs_image *image, struct rt_error *err);

#endif
