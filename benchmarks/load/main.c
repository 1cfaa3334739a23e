// The load generator of the benchmarks: drives a Socket.IO server and says what each operation cost it.
//
//   load SCENARIO --port PORT --pid PID [--clients N] [--count N] [--window N] [--size BYTES] [--rooms N] [--event NAME] [--data JSON] [--rate N] [--seconds N] …
//
// It prints one JSON object. A run in which anything at all goes wrong (a connection that closes, a packet that is
// lost, doubled or out of order) prints the reason on stderr and ends with status 1.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "browser.h"
#include "latency.h"
#include "net.h"
#include "options.h"
#include "polling.h"
#include "process.h"
#include "websocket.h"

struct Options options = {.event = "echo", .clients = 100, .window = 1, .size = 32, .rooms = 1000, .at_once = 100,
                          .repeat = 1, .timeout = 120, .count = 1000, .rate = 1000, .seconds = 3, .others = 1000};

static WebSocket *clients;
static char *payload;
static long finished;

// --- measuring -------------------------------------------------------------------------------------------------------

typedef struct {
    double wall, server, own;
} Usage;

static Usage usage(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (Usage){now(), process_cpu_seconds(), (double)t.tv_sec + (double)t.tv_nsec * 1e-9};
}

static Usage since(Usage before) {
    Usage after = usage();
    return (Usage){after.wall - before.wall, after.server - before.server, after.own - before.own};
}

static void report_cpu(Usage used, long operations) {
    printf("{\"scenario\":\"%s\",\"operations\":%ld,\"cpu_us\":%.3f,\"per_second\":%.0f,"
           "\"server_busy\":%.2f,\"load_busy\":%.2f}\n",
           options.scenario, operations, used.server / (double)operations * 1e6, (double)operations / used.wall,
           used.server / used.wall, used.own / used.wall);
}

void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) fail("out of memory");
    return memory;
}

static void connect_all(PacketHandler *handler) {
    clients = allocate((size_t)options.clients, sizeof *clients);
    websocket_connect(clients, options.clients, options.at_once, handler);
    process_settle();
}

// --- fan-out: one client sends, the server emits it to all of them ---------------------------------------------------

static int *arrivals;

static void on_broadcast(WebSocket *client, const char *packet, size_t length) {
    static const char expected[] = "2[\"bcast\",{\"seq\":";
    if (length < sizeof expected || memcmp(packet, expected, sizeof expected - 1)) fail("not a broadcast");
    long number = strtol(packet + sizeof expected - 1, NULL, 10);
    if (number != client->received++) fail("broadcasts are out of order, or one is lost");
    if (++arrivals[number] == options.clients) finished++;
}

static void broadcast(long upto, long *sent) {
    static char *text;
    if (!text) text = allocate((size_t)options.size + 128, 1);
    while (finished < upto) {
        for (; *sent < upto && *sent - finished < options.window; (*sent)++) {
            int length = sprintf(text, "42[\"bcast\",{\"seq\":%ld,\"p\":\"%s\"}]", *sent, payload);
            websocket_send(&clients[0], text, (size_t)length);
        }
        net_turn(50);
    }
}

static void fan_out(void) {
    arrivals = allocate((size_t)(options.warm_up + options.count), sizeof *arrivals);
    connect_all(on_broadcast);
    long sent = 0;
    broadcast(options.warm_up, &sent);
    Usage before = usage();
    broadcast(options.warm_up + options.count, &sent);
    report_cpu(since(before), options.count * options.clients);
}

// --- acks: every client keeps some events in flight, each of which is acknowledged -----------------------------------

static long sent_events, wanted_events;

static void ask(WebSocket *client) {
    static char *text;
    if (!text) text = allocate(strlen(options.event) + strlen(options.data) + 64, 1);
    if (sent_events >= wanted_events) return;
    sent_events++;
    int length = sprintf(text, "42%ld[\"%s\",%s]", client->asked++, options.event, options.data);
    websocket_send(client, text, (size_t)length);
}

static void on_ack(WebSocket *client, const char *packet, size_t length) {
    if (length < 2 || packet[0] != '3' || strtol(packet + 1, NULL, 10) != client->received++)
        fail("acknowledgements are out of order, or one is lost");
    finished++;
    ask(client);
}

static void echo(long events) {
    sent_events = finished = 0;
    wanted_events = events;
    for (int i = 0; i < options.clients; i++)
        for (int j = 0; j < options.window; j++) ask(&clients[i]);
    while (finished < events) net_turn(50);
}

static void acks(void) {
    connect_all(on_ack);
    echo(options.warm_up);
    Usage before = usage();
    echo(options.count);
    report_cpu(since(before), options.count);
}

// --- long-polling: the same, one at a time, by POST and GET ------------------------------------------------------------

static void polling(void) {
    Poller *pollers = polling_connect(options.clients);
    process_settle();
    polling_round_trips(pollers, options.clients, options.warm_up, payload);
    Usage before = usage();
    polling_round_trips(pollers, options.clients, options.count, payload);
    report_cpu(since(before), options.count);
}

// --- connecting ----------------------------------------------------------------------------------------------------------

// What it took to connect so many. They have gone again, and are forgotten, when it returns.
static Usage connect_and_drop(int count) {
    WebSocket *all = allocate((size_t)count, sizeof *all);
    Usage before = usage();
    websocket_connect(all, count, options.at_once, NULL);
    double wall = now() - before.wall;
    process_settle();  // what it has put off belongs to the cost
    Usage used = since(before);
    used.wall = wall;
    websocket_drop(all, count);
    process_settle();
    free(all);
    return used;
}

static void connecting(void) {
    if (options.warm_up) connect_and_drop((int)options.warm_up);
    Usage total = {0};
    for (int i = 0; i < options.repeat; i++) {
        Usage used = connect_and_drop(options.clients);
        total.wall += used.wall;
        total.server += used.server;
        total.own += used.own;
    }
    report_cpu(total, (long)options.clients * options.repeat);
}

// --- memory ----------------------------------------------------------------------------------------------------------------

static void memory(void) {
    if (options.warm_up) connect_and_drop((int)options.warm_up);
    double before = process_resident_kib();
    connect_all(NULL);
    double last, after = process_resident_kib();
    do {  // a runtime may give memory back when it has come to rest
        last = after;
        net_wait(1);
        after = process_resident_kib();
    } while (last - after > last / 100);
    double cpu = process_cpu_seconds(), time = now();
    net_wait(1);
    cpu = (process_cpu_seconds() - cpu) / (now() - time);
    printf("{\"scenario\":\"memory\",\"operations\":%d,\"kib\":%.3f,\"idle_busy\":%.4f}\n", options.clients,
           (after - before) / options.clients, cpu);
}

// --- disconnecting, while others are in many rooms -----------------------------------------------------------------------

static void on_joined(WebSocket *client, const char *packet, size_t length) {
    if (length < 2 || packet[0] != '3') fail("not an acknowledgement");
    client->received++;
    finished++;
}

static void join(WebSocket *client, const char *prefix, int number, int rooms) {
    char text[128];
    int length = sprintf(text, "420[\"join\",\"%s%d.\",%d]", prefix, number, rooms);
    websocket_send(client, text, (size_t)length);
}

static void leave(WebSocket *leaving, long count) {
    websocket_gone = 0;
    for (long started = 0; websocket_gone < count;) {
        for (; started < count && started - websocket_gone < options.at_once; started++) websocket_leave(&leaving[started]);
        net_turn(50);
    }
}

static void disconnecting(void) {
    enum { OTHERS = 10, OWN_ROOMS = 2 };
    WebSocket *others = allocate(OTHERS, sizeof *others);
    websocket_connect(others, OTHERS, OTHERS, on_joined);
    for (int i = 0; i < OTHERS; i++) {
        join(&others[i], "other", i, options.rooms / OTHERS);
        while (finished <= i) net_turn(50);
    }
    long all = options.warm_up + options.count;
    clients = allocate((size_t)all, sizeof *clients);
    websocket_connect(clients, (int)all, options.at_once, on_joined);
    finished = 0;
    for (long i = 0; i < all; i++) join(&clients[i], "own", 0, OWN_ROOMS);
    while (finished < all) net_turn(50);
    leave(clients, options.warm_up);
    process_settle();
    Usage before = usage();
    leave(clients + options.warm_up, options.count);
    double wall = now() - before.wall;
    process_settle();
    Usage used = since(before);
    used.wall = wall;
    report_cpu(used, options.count);
}

// --- the command line -----------------------------------------------------------------------------------------------------

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {{"fan-out", fan_out},  {"acks", acks},     {"polling", polling},
                 {"connect", connecting}, {"memory", memory}, {"disconnect", disconnecting},
                 {"latency", latency_scenario}, {"crowd", crowd_scenario}, {"broadcast", broadcast_scenario},
                 {"browser", browser_scenario}, {"storm", storm_scenario}};

const char *request_headers;

static void set_headers(bool bare) {
    static char headers[1024];
    snprintf(headers, sizeof headers, "Host: 127.0.0.1:%d\r\n%s", options.port,
             bare ? ""
                  : "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
                    "Chrome/140.0.0.0 Safari/537.36\r\n"
                    "Accept: */*\r\n"
                    "Accept-Language: en-GB,en;q=0.9\r\n"
                    "Cache-Control: no-cache\r\n"
                    "Pragma: no-cache\r\n"
                    "Cookie: session=0123456789abcdef0123456789abcdef\r\n");
    request_headers = headers;
}

int main(int count, char **arguments) {
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},    {"pid", required_argument, NULL, 'i'},
        {"clients", required_argument, NULL, 'n'}, {"count", required_argument, NULL, 'c'},
        {"window", required_argument, NULL, 'w'},  {"size", required_argument, NULL, 's'},
        {"rooms", required_argument, NULL, 'r'},   {"at-once", required_argument, NULL, 'a'},
        {"warm-up", required_argument, NULL, 'u'}, {"repeat", required_argument, NULL, 'e'},
        {"timeout", required_argument, NULL, 't'}, {"bare", no_argument, NULL, 'b'},
        {"event", required_argument, NULL, 'v'},   {"data", required_argument, NULL, 'd'},
        {"rate", required_argument, NULL, 'R'},    {"seconds", required_argument, NULL, 'S'},
        {"others", required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0}};
    bool bare = false;
    for (int name; (name = getopt_long(count, arguments, "", names, NULL)) != -1;) {
        switch (name) {
        case 'p': options.port = atoi(optarg); break;
        case 'i': options.pid = atoi(optarg); break;
        case 'n': options.clients = atoi(optarg); break;
        case 'c': options.count = atol(optarg); break;
        case 'w': options.window = atoi(optarg); break;
        case 's': options.size = atoi(optarg); break;
        case 'r': options.rooms = atoi(optarg); break;
        case 'a': options.at_once = atoi(optarg); break;
        case 'u': options.warm_up = atol(optarg); break;
        case 'e': options.repeat = atoi(optarg); break;
        case 't': options.timeout = atoi(optarg); break;
        case 'b': bare = true; break;
        case 'v': options.event = optarg; break;
        case 'd': options.data = optarg; break;
        case 'R': options.rate = atof(optarg); break;
        case 'S': options.seconds = atof(optarg); break;
        case 'o': options.others = atoi(optarg); break;
        default: return 2;
        }
    }
    options.scenario = optind < count ? arguments[optind] : "";
    if (!options.port || !options.pid) fail("--port and --pid are needed");
    if (options.clients < 1 || options.count < 1 || options.window < 1 || options.repeat < 1) fail("at least one of everything");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    alarm((unsigned)options.timeout);
    set_headers(bare);
    payload = allocate((size_t)options.size + 1, 1);
    memset(payload, 'x', (size_t)options.size);
    if (!options.data) {
        char *text = allocate((size_t)options.size + 3, 1);
        sprintf(text, "\"%s\"", payload);
        options.data = text;
    }
    net_start(options.port);
    process_watch(options.pid);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (!strcmp(scenarios[i].name, options.scenario)) {
            process_settle();
            scenarios[i].run();
            return 0;
        }
    }
    fail("no such scenario: %s", options.scenario);
}
