#define _GNU_SOURCE  // memmem, strcasestr
#include "browser.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "latency.h"
#include "net.h"
#include "options.h"
#include "process.h"
#include "websocket.h"

typedef struct Browser Browser;

// An HTTP connection that is kept.
typedef struct {
    Connection tcp;
    Browser *owner;
    bool busy;
} Lane;

struct Browser {
    Lane first, second;  // a poll waits in the second one while the first one posts
    Connection websocket;
    char sid[128];
    double started, connected_at, upgraded_at;
    bool connected, open, pausing, upgraded;
};

static Browser *browsers;
static int connected, upgraded;

// --- HTTP ----------------------------------------------------------------------------------------------------------------

static void send_request(Lane *lane, const char *method, const char *body) {
    Browser *browser = lane->owner;
    char text[2048];
    int length = snprintf(text, sizeof text,
                          "%s /socket.io/?EIO=4&transport=polling&t=abcdefg1%s%s HTTP/1.1\r\n%s"
                          "Connection: keep-alive\r\nReferer: http://127.0.0.1:%d/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n",
                          method, *browser->sid ? "&sid=" : "", browser->sid, request_headers, options.port);
    net_send(&lane->tcp, text, (size_t)length);
    length = body ? snprintf(text, sizeof text,
                             "Origin: http://127.0.0.1:%d\r\nContent-type: text/plain;charset=UTF-8\r\n"
                             "Content-Length: %zu\r\n\r\n%s",
                             options.port, strlen(body), body)
                  : snprintf(text, sizeof text, "\r\n");
    net_send(&lane->tcp, text, (size_t)length);
    lane->busy = true;
}

// Reads the body of a response that is complete; returns the bytes of the response, or 0.
static size_t read_response(const char *data, size_t length, char *body, size_t *size) {
    enum { MOST = 65536 };
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end) return 0;
    char head[4096];
    if ((size_t)(end - data) >= sizeof head) fail("a long head");
    memcpy(head, data, (size_t)(end - data));
    head[end - data] = 0;
    if (strncmp(head, "HTTP/1.1 200", 12)) fail("not served: %.200s", head);
    const char *at = end + 4, *limit = data + length, *field = strcasestr(head, "\r\nContent-Length:");
    *size = 0;
    if (field) {
        *size = strtoul(field + 17, NULL, 10);
        if (*size >= MOST) fail("a long body");
        if ((size_t)(limit - at) < *size) return 0;
        memcpy(body, at, *size);
        at += *size;
    } else {
        for (size_t chunk = 1; chunk;) {
            const char *line = memmem(at, (size_t)(limit - at), "\r\n", 2);
            if (!line) return 0;
            chunk = strtoul(at, NULL, 16);
            at = line + 2;
            if ((size_t)(limit - at) < chunk + 2) return 0;
            if (*size + chunk >= MOST) fail("a long body");
            memcpy(body + *size, at, chunk);
            *size += chunk;
            at += chunk + 2;
        }
    }
    body[*size] = 0;
    return (size_t)(at - data);
}

// --- the websocket ---------------------------------------------------------------------------------------------------------

static void send_frame(Connection *tcp, const char *text) {
    static uint32_t random = 2463534242u;
    random ^= random << 13, random ^= random >> 17, random ^= random << 5;
    unsigned char frame[2 + 4 + 125] = {0x81};
    size_t length = strlen(text);
    frame[1] = (unsigned char)(0x80 | length);
    memcpy(frame + 2, &random, 4);
    for (size_t i = 0; i < length; i++) frame[6 + i] = (unsigned char)text[i] ^ frame[2 + i % 4];
    net_send(tcp, frame, 6 + length);
}

static void upgrade_if_ready(Browser *browser) {
    if (!browser->pausing || browser->upgraded || browser->first.busy || browser->second.busy) return;
    send_frame(&browser->websocket, "5");
    browser->upgraded = true;
    browser->upgraded_at = now();
    upgraded++;
}

static void on_packet(Browser *browser, const char *packet, size_t length) {
    if (length > 1 && packet[0] == '4' && packet[1] == '4') fail("refused");
    if (length > 1 && packet[0] == '4' && packet[1] == '0' && !browser->connected) {
        browser->connected = true;
        browser->connected_at = now();
        connected++;
    }
}

static Browser *browser_of(Connection *tcp) { return (Browser *)((char *)tcp - offsetof(Browser, websocket)); }

static void on_websocket_connected(Connection *tcp) {
    char text[2048];
    int length = snprintf(text, sizeof text,
                          "GET /socket.io/?EIO=4&transport=websocket&sid=%s HTTP/1.1\r\n%sOrigin: http://127.0.0.1:%d\r\n"
                          "Accept-Encoding: gzip, deflate, br, zstd\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                          "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
                          browser_of(tcp)->sid, request_headers, options.port);
    net_send(tcp, text, (size_t)length);
}

static size_t on_websocket_data(Connection *tcp, const char *data, size_t length) {
    Browser *browser = browser_of(tcp);
    size_t at = 0;
    if (!browser->open) {
        const char *end = memmem(data, length, "\r\n\r\n", 4);
        if (!end) return 0;
        if (memcmp(data, "HTTP/1.1 101", 12)) fail("no websocket: %.200s", data);
        browser->open = true;
        at = (size_t)(end + 4 - data);
        send_frame(tcp, "2probe");
    }
    while (length - at >= 2) {
        const unsigned char *frame = (const void *)(data + at);
        size_t head = 2, size = frame[1];
        if (size == 126) {
            if (length - at < 4) break;
            head = 4;
            size = (size_t)(frame[2] << 8 | frame[3]);
        } else if (size > 126) {
            fail("a long frame");
        }
        if (length - at < head + size) break;
        const char *packet = data + at + head;
        if ((frame[0] & 15) == 8) fail("the server has closed a websocket");
        // python-socketio compresses even the answer to the probe, which is the first to come.
        bool is_probe = !browser->pausing && (frame[0] & 0x40 || (size == 6 && !memcmp(packet, "3probe", 6)));
        if (is_probe) {
            browser->pausing = true;
            upgrade_if_ready(browser);
        } else if (frame[0] & 0x40) {  // not read, but only the reply to CONNECT is as long
            if (size > 10) on_packet(browser, "40", 2);
        } else if (size && packet[0] == '2') {
            send_frame(tcp, "3");
        } else {
            on_packet(browser, packet, size);
        }
        at += head + size;
    }
    return at;
}

static void on_lost(Connection *tcp) {
    (void)tcp;
    fail("the server has closed a connection");
}

// --- the way of a client ------------------------------------------------------------------------------------------------------

static void on_lane_connected(Connection *tcp) { send_request((Lane *)tcp, "GET", NULL); }

static void on_lane_lost(Connection *tcp) {
    if (!((Lane *)tcp)->owner->upgraded) fail("the server has closed a connection that it needs");
}

static size_t on_lane_data(Connection *tcp, const char *data, size_t length);

static void open_lane(Browser *browser, Lane *lane) {
    lane->owner = browser;
    lane->busy = true;
    lane->tcp.on_connected = on_lane_connected;
    lane->tcp.on_data = on_lane_data;
    lane->tcp.on_lost = on_lane_lost;
    net_connect(&lane->tcp);
}

static void go_on(Browser *browser, const char *body) {
    const char *sid = strstr(body, "\"sid\":\"");
    if (!sid) fail("no session id: %.200s", body);
    size_t length = strcspn(sid + 7, "\"");
    if (length >= sizeof browser->sid) fail("a long session id");
    memcpy(browser->sid, sid + 7, length);
    send_request(&browser->first, "POST", "40");
    browser->websocket.on_connected = on_websocket_connected;
    browser->websocket.on_data = on_websocket_data;
    browser->websocket.on_lost = on_lost;
    net_connect(&browser->websocket);
    open_lane(browser, &browser->second);
}

static size_t on_lane_data(Connection *tcp, const char *data, size_t length) {
    static char body[65536];
    Lane *lane = (Lane *)tcp;
    Browser *browser = lane->owner;
    size_t size, used = read_response(data, length, body, &size);
    if (!used) return 0;
    lane->busy = false;
    if (!*browser->sid) {
        go_on(browser, body);
        return used;
    }
    if (lane == &browser->second) {
        for (size_t at = 0; at < size;) {
            const char *end = memchr(body + at, 0x1e, size - at);
            size_t part = end ? (size_t)(end - body) - at : size - at;
            on_packet(browser, body + at, part);
            at += part + 1;
        }
        if (!browser->pausing) send_request(lane, "GET", NULL);
    }
    upgrade_if_ready(browser);
    return used;
}

static void start(Browser *browser, double time) {
    *browser = (Browser){.started = time};
    open_lane(browser, &browser->first);
}

static void drop(Browser *browser) {
    net_close(&browser->first.tcp);
    net_close(&browser->second.tcp);
    net_close(&browser->websocket);
}

static bool all_there(int count) { return connected == count && upgraded == count; }

static void come(int count) {
    connected = upgraded = 0;
    for (int started = 0; !all_there(count);) {
        int there = connected < upgraded ? connected : upgraded;
        for (; started < count && started - there < options.at_once; started++) start(&browsers[started], now());
        net_turn(50);
    }
    process_settle();
}

void browser_scenario(void) {
    int most = options.clients > options.warm_up ? options.clients : (int)options.warm_up;
    browsers = allocate((size_t)most, sizeof *browsers);
    if (options.warm_up) {
        come((int)options.warm_up);
        for (int i = 0; i < options.warm_up; i++) drop(&browsers[i]);
        process_settle();
    }
    double cpu = process_cpu_seconds(), memory = process_resident_kib();
    come(options.clients);
    printf("{\"scenario\":\"browser\",\"cpu_us\":%.1f,\"kib\":%.3f}\n", (process_cpu_seconds() - cpu) / options.clients * 1e6,
           (process_resident_kib() - memory) / options.clients);
}

static double chance(void) {
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.0;
}

void storm_scenario(void) {
    Times connects = {0}, upgrades = {0};
    browsers = allocate((size_t)options.clients, sizeof *browsers);
    double begin = now(), last = 0;
    for (int started = 0; !all_there(options.clients);) {
        double time = now();
        // They come evenly, by chance a little early or late: as many as should have come by now.
        while (started < options.clients && started + chance() <= (time - begin) * options.clients) start(&browsers[started++], time);
        net_turn(1);
    }
    for (int i = 0; i < options.clients; i++) {
        times_add(&connects, browsers[i].connected_at - browsers[i].started);
        times_add(&upgrades, browsers[i].upgraded_at - browsers[i].started);
        if (browsers[i].upgraded_at > last) last = browsers[i].upgraded_at;
    }
    printf("{\"scenario\":\"storm\",\"all_s\":%.3f", last - begin);
    times_print(&connects, "connect");
    times_print(&upgrades, "upgrade");
    printf("}\n");
}
