// A Socket.IO v5 client on Engine.IO v4's HTTP long-polling transport.
#ifndef POLLING_H
#define POLLING_H

#include "net.h"

// As a browser does it: two kept-alive connections, a GET that waits on the one, POSTs on the other.
typedef struct Poller Poller;

// Connects them all and then has each ask for acks of `echo`, one at a time: a POST with the event, which also a
// waiting GET is answered for. Returns when so many round trips are done; can be called again.
Poller *polling_connect(int count);
void polling_round_trips(Poller *pollers, int count, long round_trips, const char *payload);

#endif
