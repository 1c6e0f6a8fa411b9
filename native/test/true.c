/*
 * The smallest program for a container to run, so that a benchmark times the runtime and not the program. With an argument it
 * waits to be killed.
 */
#include <unistd.h>

int main(int argc, char **argv)
{
	(void)argv;
	while (argc > 1)
		pause();
	return 0;
}
