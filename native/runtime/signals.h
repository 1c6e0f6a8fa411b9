/* Signal names, as people and engines write them. */
#ifndef BERTH_RUNTIME_SIGNALS_H
#define BERTH_RUNTIME_SIGNALS_H

/* "9", "KILL", "SIGKILL", "RTMIN+3"; 0 is a probe. -1 when unknown. Case does not matter. */
int signal_from_text(const char *text);

#endif
