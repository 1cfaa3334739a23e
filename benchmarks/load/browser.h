// Clients as the JavaScript client is in a browser with its defaults: polling first, then a websocket.
#ifndef BROWSER_H
#define BROWSER_H

// What one costs, in CPU time and memory, its kept HTTP connections included.
void browser_scenario(void);
// How long it takes when they all come within a second.
void storm_scenario(void);

#endif
