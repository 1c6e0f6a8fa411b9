#include "runtime/version.h"

const char runtime_commit[] =
#include "commit.inc"
	;
