// What the command line asks for.
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stddef.h>

extern struct Options {
    const char *scenario, *event, *data;
    int port, pid, clients, window, size, rooms, at_once, repeat, timeout;
    long count, warm_up;
    double rate, seconds;  // events, or broadcasts, in a second; seconds for which they are sent
    int others;            // clients that rest, or that come in a second
} options;

void *allocate(size_t count, size_t size);

#endif
