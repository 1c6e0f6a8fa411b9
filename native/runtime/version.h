/* What this program and the specification it follows are called. */
#ifndef BERTH_RUNTIME_VERSION_H
#define BERTH_RUNTIME_VERSION_H

#define BERTH_RUNTIME_VERSION "0.1.0"
#define OCI_VERSION_MIN "1.0.0"
#define OCI_VERSION "1.2.1"

/* The commit that the program was built from, or "unknown" outside a git checkout. */
extern const char runtime_commit[];

#endif
