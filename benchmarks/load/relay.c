// A relay that sends a publisher's bytes to a subscriber without looking at them: the least work a broker could do.
//
// It answers CONNECT, SUBSCRIBE and DISCONNECT so that an MQTT client will talk to it, and then only receives and sends.
// It serves publishers and one subscriber at a time, the last that has subscribed, QoS 0, on 127.0.0.1.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_SIZE = 256 * 1024, CONNECTIONS = 1024, STUCK_MILLISECONDS = 5000 };

enum role { UNKNOWN, PUBLISHER, SUBSCRIBER };

struct client {
    int descriptor;  // -1 if the place is free
    bool connected;  // CONNECT has been answered
    bool version_5;
    enum role role;
};

static struct client clients[CONNECTIONS];
static struct client *subscriber;
static uint8_t buffer[BUFFER_SIZE];

static void drop(struct client *client)
{
    if (client == subscriber)
        subscriber = NULL;
    close(client->descriptor);
    client->descriptor = -1;
}

static bool send_all(int descriptor, const uint8_t *from, size_t length)
{
    while (length) {
        ssize_t sent = send(descriptor, from, length, MSG_NOSIGNAL);
        if (sent > 0) {
            from += sent;
            length -= (size_t)sent;
            continue;
        }
        struct pollfd writable = {.fd = descriptor, .events = POLLOUT};
        if (sent == 0 || (errno != EAGAIN && errno != EINTR) || poll(&writable, 1, STUCK_MILLISECONDS) == 0)
            return false;
    }
    return true;
}

// CONNECT and SUBSCRIBE are small and come alone, so each is taken to arrive whole in one read.
static bool answer_control(struct client *client, size_t length)
{
    if (!client->connected) {
        if (length < 10 || buffer[0] != 0x10)
            return false;
        client->connected = true;
        client->version_5 = buffer[8] == 5;
        return client->version_5 ? send_all(client->descriptor, (const uint8_t *)"\x20\x03\x00\x00\x00", 5)
                                 : send_all(client->descriptor, (const uint8_t *)"\x20\x02\x00\x00", 4);
    }
    if (length < 6)
        return false;
    client->role = SUBSCRIBER;
    subscriber = client;
    uint8_t answer[6] = {0x90, 3, buffer[2], buffer[3], 0, 0};
    answer[1] = client->version_5 ? 4 : 3;
    return send_all(client->descriptor, answer, client->version_5 ? 6 : 5);
}

static void serve(struct client *client)
{
    ssize_t received = recv(client->descriptor, buffer, sizeof buffer, 0);
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (received <= 0) {
        drop(client);
        return;
    }
    if (!client->connected || (client->role == UNKNOWN && buffer[0] == 0x82)) {
        if (!answer_control(client, (size_t)received))
            drop(client);
        return;
    }
    if (client->role == SUBSCRIBER) {
        if (buffer[0] == 0xE0)
            drop(client);
        return;
    }
    client->role = PUBLISHER;  // from now on a piece of what it sends may begin with any byte
    if (subscriber && client != subscriber && !send_all(subscriber->descriptor, buffer, (size_t)received))
        drop(subscriber);
}

static void greet(int listener, int epoll)
{
    int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0)
        return;
    for (int i = 0; i < CONNECTIONS; i++) {
        if (clients[i].descriptor >= 0)
            continue;
        clients[i] = (struct client){.descriptor = descriptor};
        int one = 1;
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
        return;
    }
    close(descriptor);
}

int main(int count, char **arguments)
{
    int port = count == 2 ? atoi(arguments[1]) : 0;
    if (port < 1 || port > 65535) {
        fprintf(stderr, "usage: relay PORT\n");
        return 2;
    }
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, CONNECTIONS) < 0) {
        perror("relay");
        return 1;
    }
    for (int i = 0; i < CONNECTIONS; i++)
        clients[i].descriptor = -1;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[16];
        int ready = epoll_wait(epoll, events, 16, -1);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (!client)
                greet(listener, epoll);
            else if (client->descriptor >= 0)
                serve(client);
        }
    }
}
