// How long clients wait for an acknowledgement, by the clock.
#ifndef LATENCY_H
#define LATENCY_H

#include <stddef.h>

// Times in seconds.
typedef struct {
    double *values;
    size_t count, capacity;
} Times;

void times_add(Times *times, double seconds);
// Prints ,"<name>_p50":…,"<name>_p99":…,"<name>_p999":…,"<name>_max":… in milliseconds.
void times_print(Times *times, const char *name);

// Events at a rate, whether those before have been answered or not.
void latency_scenario(void);
// The same while others connect, beside clients that rest.
void crowd_scenario(void);
// The same while one event goes to all clients, now and then.
void broadcast_scenario(void);

#endif
