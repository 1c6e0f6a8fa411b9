/*
 * A bug planted in layer/tar.c, for the one target `planted`: an extended header's buffer is a byte too short for the NUL at its end.
 * Included before the source by the compiler's command line; the source itself stays as it is.
 */
#include <stdlib.h>

#define malloc(size) ((malloc)((size) - 1))
