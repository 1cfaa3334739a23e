#define _GNU_SOURCE
#include "websocket.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

int websocket_gone;

static int ready;
static PacketHandler *packet_handler;

static void on_connected(Connection *tcp) {
    char request[2048];
    int length = snprintf(request, sizeof request,
                          "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
                          "%s"
                          "Connection: Upgrade\r\n"
                          "Upgrade: websocket\r\n"
                          "Sec-WebSocket-Version: 13\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                          request_headers);
    net_send(tcp, request, (size_t)length);
    ((WebSocket *)tcp)->state = HANDSHAKE;
}

static void send_frame(WebSocket *client, int opcode, const char *payload, size_t length) {
    // A mask that is not zero, as every browser sends: some servers skip the work for a mask of zeros.
    static uint32_t random = 2463534242u;
    random ^= random << 13, random ^= random >> 17, random ^= random << 5;
    unsigned char mask[4];
    memcpy(mask, &random, 4);
    unsigned char head[14] = {(unsigned char)(0x80 | opcode)};
    size_t size = 2;
    if (length < 126) {
        head[1] = (unsigned char)(0x80 | length);
    } else {
        int bytes = length < 65536 ? 2 : 8;
        head[1] = bytes == 2 ? 0x80 | 126 : 0x80 | 127;
        for (int i = 0; i < bytes; i++) head[2 + i] = (unsigned char)((uint64_t)length >> (8 * (bytes - 1 - i)));
        size += (size_t)bytes;
    }
    memcpy(head + size, mask, 4);
    net_send(&client->tcp, head, size + 4);
    char masked[4096];
    for (size_t at = 0; at < length;) {
        size_t part = length - at < sizeof masked ? length - at : sizeof masked;
        for (size_t i = 0; i < part; i++) masked[i] = (char)(payload[at + i] ^ mask[i & 3]);
        net_send(&client->tcp, masked, part);
        at += part;
    }
}

void websocket_send(WebSocket *client, const char *text, size_t length) { send_frame(client, TEXT, text, length); }

static void gone(WebSocket *client) {
    if (client->state != GONE) websocket_gone++;
    client->state = GONE;
    net_close(&client->tcp);
}

static void on_lost(Connection *tcp) {
    WebSocket *client = (WebSocket *)tcp;
    if (client->state != LEAVING) fail("the server closed a connection");
    gone(client);
}

static void on_message(WebSocket *client, const char *text, size_t length) {
    char kind = length ? text[0] : 0;
    if (kind == '2') {
        websocket_send(client, "3", 1);
    } else if (kind == '0' && client->state == HANDSHAKE) {
        websocket_send(client, "40", 2);
        client->state = JOINING;
    } else if (kind == '4' && length > 1 && text[1] == '0' && client->state == JOINING) {
        client->state = READY;
        ready++;
    } else if (kind == '4' && length > 1 && (text[1] == '2' || text[1] == '3')) {
        if (packet_handler) packet_handler(client, text + 1, length - 1);
    } else {
        fail("unexpected packet: %.*s", (int)(length < 80 ? length : 80), text);
    }
}

static void on_frame(WebSocket *client, unsigned opcode, const char *payload, size_t length) {
    if (opcode == TEXT) {
        on_message(client, payload, length);
    } else if (opcode == PING) {
        send_frame(client, PONG, payload, length);
    } else if (opcode == CLOSE) {
        if (client->state != LEAVING) fail("the server closed a websocket");
    } else if (opcode != PONG) {
        fail("unexpected frame of type %u", opcode);
    }
}

static size_t on_data(Connection *tcp, const char *data, size_t length) {
    WebSocket *client = (WebSocket *)tcp;
    size_t at = 0;
    if (client->state == HANDSHAKE && data[0] == 'H') {
        const char *end = memmem(data, length, "\r\n\r\n", 4);
        if (!end) return 0;
        if (memcmp(data, "HTTP/1.1 101", 12)) fail("not accepted: %.*s", (int)(length < 80 ? length : 80), data);
        at = (size_t)(end - data) + 4;
    }
    while (tcp->fd >= 0 && length - at >= 2) {
        const unsigned char *frame = (const unsigned char *)data + at;
        size_t head = 2;
        uint64_t size = frame[1];
        if (size > 127) fail("a server must not mask");
        if (!(frame[0] & 0x80)) fail("a fragmented message");
        if (size >= 126) {
            head = size == 126 ? 4 : 10;
            if (length - at < head) break;
            size = 0;
            for (size_t i = 2; i < head; i++) size = size << 8 | frame[i];
        }
        if (length - at < head + size) break;
        on_frame(client, frame[0] & 15, data + at + head, size);
        at += head + size;
    }
    return at;
}

void websocket_connect(WebSocket *clients, int count, int at_once, PacketHandler *handler) {
    packet_handler = handler;
    ready = 0;
    for (int started = 0; ready < count;) {
        for (; started < count && started - ready < at_once; started++) {
            clients[started] = (WebSocket){.tcp = {.on_connected = on_connected, .on_data = on_data, .on_lost = on_lost}};
            net_connect(&clients[started].tcp);
        }
        net_turn(50);
    }
}

void websocket_leave(WebSocket *client) {
    send_frame(client, CLOSE, "\x03\xe9", 2);  // 1001, "going away"
    client->state = LEAVING;
}

void websocket_drop(WebSocket *clients, int count) {
    for (int i = 0; i < count; i++) net_close(&clients[i].tcp);
}

void websocket_start(WebSocket *client) {
    *client = (WebSocket){.tcp = {.on_connected = on_connected, .on_data = on_data, .on_lost = on_lost}};
    net_connect(&client->tcp);
}
