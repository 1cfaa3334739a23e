#include "latency.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"
#include "options.h"
#include "process.h"
#include "websocket.h"

enum { PROBES = 100 };

// --- times -------------------------------------------------------------------------------------------------------------

void times_add(Times *times, double seconds) {
    if (times->count == times->capacity) {
        times->capacity = times->capacity ? times->capacity * 2 : 1024;
        times->values = realloc(times->values, times->capacity * sizeof *times->values);
        if (!times->values) fail("out of memory");
    }
    times->values[times->count++] = seconds;
}

static int compare(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

void times_print(Times *times, const char *name) {
    if (!times->count) fail("nothing was measured");
    qsort(times->values, times->count, sizeof *times->values, compare);
    static const struct {
        const char *name;
        double share;
    } parts[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        printf(",\"%s_%s\":%.3f", name, parts[i].name, times->values[(size_t)((double)times->count * parts[i].share)] * 1e3);
    printf(",\"%s_max\":%.3f", name, times->values[times->count - 1] * 1e3);
}

// --- events at a rate, each acknowledged ----------------------------------------------------------------------------------

static WebSocket *probes;  // those that send them, spread over all clients
static int probe_count, probe_step;
static double *due;  // when each event was to be sent: one that leaves late has waited since then
static long asked, answered;
static Times acks, acks_during;
static struct {
    double sent, ended;
    long arrived;
    bool on_its_way;
    Times last;
} broadcasts;

static void on_packet(WebSocket *client, const char *packet, size_t length) {
    (void)client;
    if (length < 2) fail("not a packet");
    if (packet[0] == '3') {
        double since = due[strtol(packet + 1, NULL, 10)], waited = now() - since;
        times_add(&acks, waited);
        // Also those that waited behind it, and are answered when all have it:
        if (broadcasts.on_its_way || since < broadcasts.ended) times_add(&acks_during, waited);
        answered++;
    } else if (packet[0] == '2' && ++broadcasts.arrived == options.clients) {
        broadcasts.ended = now();
        times_add(&broadcasts.last, broadcasts.ended - broadcasts.sent);
        broadcasts.on_its_way = false;
    }
}

static void ask(double when) {
    static char *text;
    if (!text) text = allocate(strlen(options.event) + strlen(options.data) + 64, 1);
    due[asked] = when;
    int length = sprintf(text, "42%ld[\"%s\",%s]", asked, options.event, options.data);
    websocket_send(&probes[(asked % probe_count) * probe_step], text, (size_t)length);
    asked++;
}

// The time until the next event: chance has them come as those of people do, who know nothing of each other.
static double gap(void) {
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return -log(1 - (double)(state >> 11) / 9007199254740992.0) / options.rate;
}

// Sends events for so many seconds, calls `also` in each turn, and waits for the acknowledgements.
static void ask_for(double seconds, void also(double)) {
    const double patience = 20;
    double next = now(), end = next + seconds;
    for (double time = now(); time < end || answered < asked || broadcasts.on_its_way; time = now()) {
        if (time > end + patience) fail("%ld acknowledgements are missing", asked - answered);
        for (; next <= time && next < end; next += gap()) ask(next);
        if (also && time < end) also(time);
        net_turn(0);
    }
}

static void prepare(WebSocket *clients, int count) {
    websocket_connect(clients, count, options.at_once, on_packet);
    probes = clients;
    probe_count = count < PROBES ? count : PROBES;
    probe_step = count / probe_count;
    due = allocate((size_t)(options.rate * (options.seconds + 1) * 2) + 10000, sizeof *due);
    process_settle();
    ask_for(1, NULL);  // the warm-up
    acks.count = 0;
}

void latency_scenario(void) {
    prepare(allocate((size_t)options.clients, sizeof(WebSocket)), options.clients);
    double cpu = process_cpu_seconds(), start = now();
    ask_for(options.seconds, NULL);
    printf("{\"scenario\":\"latency\",\"server_busy\":%.2f", (process_cpu_seconds() - cpu) / (now() - start));
    times_print(&acks, "ack");
    printf("}\n");
}

// --- while others connect ----------------------------------------------------------------------------------------------------

static WebSocket *comers;
static int come, all_comers;
static double next_comer;

static void others_come(double time) {
    for (; next_comer <= time && come < all_comers; next_comer += 1.0 / options.others) websocket_start(&comers[come++]);
}

void crowd_scenario(void) {
    all_comers = (int)(options.others * options.seconds);
    comers = allocate((size_t)all_comers, sizeof *comers);
    prepare(allocate((size_t)options.clients, sizeof(WebSocket)), options.clients);
    next_comer = now();
    ask_for(options.seconds, others_come);
    printf("{\"scenario\":\"crowd\",\"connects\":%d", come);
    times_print(&acks, "ack");
    printf("}\n");
}

// --- while one event goes to all ------------------------------------------------------------------------------------------

static double next_broadcast;

static void broadcast(double time) {
    if (time < next_broadcast || broadcasts.on_its_way) return;
    next_broadcast = time + 0.5;
    broadcasts.sent = time;
    broadcasts.arrived = 0;
    broadcasts.on_its_way = true;
    static const char event[] = "42[\"bcast\",{\"seq\":0,\"p\":\"x\"}]";
    websocket_send(&probes[0], event, sizeof event - 1);
}

void broadcast_scenario(void) {
    prepare(allocate((size_t)options.clients, sizeof(WebSocket)), options.clients);
    next_broadcast = now();
    ask_for(options.seconds, broadcast);
    printf("{\"scenario\":\"broadcast\"");
    times_print(&broadcasts.last, "last");
    times_print(&acks, "ack");
    times_print(&acks_during, "during");
    printf("}\n");
}
