#define _GNU_SOURCE
#include "polling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "websocket.h"

typedef struct {
    Connection tcp;
    Poller *poller;
    bool busy;
} Lane;

struct Poller {
    Lane get, post;
    char sid[64];
    enum { OPENING, ENTERING, IN } stage;
    bool acked, pinged;
    long id;
};

static int ready;
static long started, done, wanted;
static const char *echo_payload;

static void request(Lane *lane, const char *method, const char *body) {
    Poller *poller = lane->poller;
    char head[2048];
    int length = snprintf(head, sizeof head, "%s /socket.io/?EIO=4&transport=polling%s%s HTTP/1.1\r\n%s", method,
                          *poller->sid ? "&sid=" : "", poller->sid, request_headers);
    net_send(&lane->tcp, head, (size_t)length);
    if (body) {
        length = snprintf(head, sizeof head, "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %zu\r\n\r\n",
                          strlen(body));
        net_send(&lane->tcp, head, (size_t)length);
        net_send(&lane->tcp, body, strlen(body));
    } else {
        net_send(&lane->tcp, "\r\n", 2);
    }
    lane->busy = true;
}

static void next_round_trip(Poller *poller) {
    if (poller->get.busy || poller->post.busy || !poller->acked) return;
    if (poller->stage != IN || started >= wanted) return;
    started++;
    poller->acked = false;
    request(&poller->get, "GET", NULL);
    char body[4096];
    snprintf(body, sizeof body, "%s42%ld[\"echo\",\"%s\"]", poller->pinged ? "3\x1e" : "", ++poller->id, echo_payload);
    poller->pinged = false;
    request(&poller->post, "POST", body);
}

static void on_packet(Poller *poller, const char *packet, size_t length) {
    if (packet[0] == '0') {
        const char *sid = memmem(packet, length, "\"sid\":\"", 7);
        if (!sid) fail("a handshake without a session id");
        sid += 7;
        size_t size = strcspn(sid, "\"");
        if (size >= sizeof poller->sid) fail("a very long session id");
        memcpy(poller->sid, sid, size);
        poller->stage = ENTERING;
        request(&poller->post, "POST", "40");
    } else if (packet[0] == '2') {
        poller->pinged = true;
    } else if (packet[0] == '4' && packet[1] == '0') {
        poller->stage = IN;
        poller->acked = true;
        ready++;
    } else if (packet[0] == '4' && packet[1] == '3') {
        if (atol(packet + 2) != poller->id || poller->acked) fail("an acknowledgement that nobody asked for");
        poller->acked = true;
        done++;
    } else if (packet[0] != '6') {
        fail("unexpected packet: %.*s", (int)length, packet);
    }
}

static void on_response(Lane *lane, const char *body, size_t length) {
    Poller *poller = lane->poller;
    lane->busy = false;
    if (lane == &poller->get) {
        for (size_t at = 0; at < length;) {
            const char *end = memchr(body + at, 0x1e, length - at);
            size_t size = end ? (size_t)(end - body) - at : length - at;
            on_packet(poller, body + at, size);
            at += size + 1;
        }
        if (poller->stage == IN && !poller->acked) request(&poller->get, "GET", NULL);
    } else if (poller->stage == ENTERING) {
        request(&poller->get, "GET", NULL);
    }
    next_round_trip(poller);
}

// Where a chunked body ends; NULL when it is not all there. The chunks are joined into `body`.
static const char *read_chunks(const char *at, const char *limit, char *body, size_t capacity, size_t *length) {
    for (*length = 0;;) {
        const char *line = memmem(at, (size_t)(limit - at), "\r\n", 2);
        if (!line) return NULL;
        size_t size = strtoul(at, NULL, 16);
        at = line + 2;
        if ((size_t)(limit - at) < size + 2) return NULL;
        if (*length + size > capacity) fail("a very long answer");
        memcpy(body + *length, at, size);
        *length += size;
        at += size + 2;
        if (!size) return at;
    }
}

static size_t on_data(Connection *tcp, const char *data, size_t length) {
    Lane *lane = (Lane *)tcp;
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end) return 0;
    const char *content = end + 4, *limit = data + length;
    char head[4096], body[65536];
    size_t size = (size_t)(end - data);
    if (size >= sizeof head) fail("a very long head");
    memcpy(head, data, size);
    head[size] = 0;
    if (strncmp(head, "HTTP/1.1 200", 12)) fail("not served: %.*s", (int)(length < 300 ? length : 300), data);
    const char *field = strcasestr(head, "\r\nContent-Length:");
    if (field) {
        size = strtoul(field + 17, NULL, 10);
        if ((size_t)(limit - content) < size) return 0;
        if (size > sizeof body) fail("a very long answer");
        memcpy(body, content, size);
        content += size;
    } else if (strcasestr(head, "\r\nTransfer-Encoding: chunked")) {
        content = read_chunks(content, limit, body, sizeof body, &size);
        if (!content) return 0;
    } else {
        fail("an answer without a length: %s", head);
    }
    on_response(lane, body, size);
    return (size_t)(content - data);
}

static void on_lost(Connection *tcp) {
    (void)tcp;
    fail("the server closed a kept-alive connection");
}

static void on_connected(Connection *tcp) {
    Lane *lane = (Lane *)tcp;
    if (lane == &lane->poller->get) request(lane, "GET", NULL);
}

Poller *polling_connect(int count) {
    Poller *pollers = calloc((size_t)count, sizeof *pollers);
    if (!pollers) fail("out of memory");
    ready = 0;
    for (int i = 0; i < count; i++) {
        Lane *lanes[] = {&pollers[i].get, &pollers[i].post};
        for (int j = 0; j < 2; j++) {
            lanes[j]->poller = &pollers[i];
            lanes[j]->tcp.on_connected = on_connected;
            lanes[j]->tcp.on_data = on_data;
            lanes[j]->tcp.on_lost = on_lost;
            net_connect(&lanes[j]->tcp);
        }
    }
    while (ready < count) net_turn(50);
    return pollers;
}

void polling_round_trips(Poller *pollers, int count, long round_trips, const char *payload) {
    started = done = 0;
    wanted = round_trips;
    echo_payload = payload;
    for (int i = 0; i < count; i++) next_round_trip(&pollers[i]);
    while (done < wanted) net_turn(50);
}
