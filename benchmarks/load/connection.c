// Sockets of the load generator: opening, buffered reading and writing, and one turn of the epoll loop.
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 256 * 1024, EVENTS_PER_TURN = 2048, SOCKETS_PER_SOURCE_ADDRESS = 10000, SOURCE_ADDRESSES = 200 };

// One buffer for all reads: a connection keeps only the bytes of a packet that is not complete.
static uint8_t *scratch;
static size_t scratch_capacity;

static void watch(struct load *load, struct connection *connection, int operation, bool for_write)
{
    struct epoll_event event = {.events = EPOLLIN | (for_write ? EPOLLOUT : 0), .data.ptr = connection};
    if (epoll_ctl(load->epoll, operation, connection->descriptor, &event) < 0) {
        perror("epoll_ctl");
        exit(1);
    }
    connection->watching_for_write = for_write;
}

void connection_pause(struct load *load, struct connection *connection)
{
    struct epoll_event event = {.events = 0, .data.ptr = connection};
    epoll_ctl(load->epoll, EPOLL_CTL_MOD, connection->descriptor, &event);
}

bool connection_open(struct load *load, struct connection *connection)
{
    connection->opened_at = clock_nanoseconds();
    connection->output_start = connection->output_end = connection->partial_length = 0;
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        note_error(load, &load->errors.connect_failed, "socket: %s", strerror(errno));
        return false;
    }
    int one = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    // One source address has about 28,000 ports; taking the next address in time keeps long runs from using them up.
    uint32_t step = (uint32_t)(load->sockets_opened++ / SOCKETS_PER_SOURCE_ADDRESS) % SOURCE_ADDRESSES;
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + step)};
    setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(descriptor, (struct sockaddr *)&source, sizeof source) < 0) {
        note_error(load, &load->errors.connect_failed, "bind: %s", strerror(errno));
        close(descriptor);
        return false;
    }
    struct sockaddr_in target = {
        .sin_family = AF_INET, .sin_port = htons(load->options.port), .sin_addr.s_addr = load->options.address};
    if (connect(descriptor, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS) {
        note_error(load, &load->errors.connect_failed, "connect: %s", strerror(errno));
        close(descriptor);
        return false;
    }
    connection->descriptor = descriptor;
    connection->stage = STAGE_CONNECTING;
    load->in_handshake++;
    load->open++;
    watch(load, connection, EPOLL_CTL_ADD, true);
    return true;
}

void connection_close(struct load *load, struct connection *connection)
{
    if (connection->stage == STAGE_CLOSED)
        return;
    if (connection->stage < STAGE_READY)
        load->in_handshake--;
    if (connection->stage == STAGE_READY)
        load->ready--;
    load->open--;
    close(connection->descriptor);
    connection->descriptor = -1;
    connection->stage = STAGE_CLOSED;
    connection->output_start = connection->output_end = 0;
}

uint8_t *connection_reserve(struct load *load, struct connection *connection, size_t length)
{
    if (connection->output_end + length > connection->output_capacity) {
        size_t pending = connection_pending(connection);
        if (connection->output_start) {
            memmove(connection->output, connection->output + connection->output_start, pending);
            connection->output_start = 0;
            connection->output_end = pending;
        }
        if (pending + length > connection->output_capacity) {
            size_t capacity = connection->output_capacity ? connection->output_capacity : 512;
            while (capacity < pending + length)
                capacity *= 2;
            connection->output = realloc(connection->output, capacity);
            if (!connection->output)
                abort();
            connection->output_capacity = capacity;
        }
    }
    uint8_t *at = connection->output + connection->output_end;
    connection->output_end += length;
    if (!connection->dirty) {
        connection->dirty = true;
        load->dirty[load->dirty_count++] = connection;
    }
    return at;
}

static void lost_connection(struct load *load, struct connection *connection, const char *reason)
{
    bool expected = connection->stage == STAGE_LEAVING;
    if (expected)
        load->counters.visits++;
    else if (connection->stage == STAGE_CONNECTING)
        note_error(load, &load->errors.connect_failed, "connect: %s", reason);
    else
        note_error(load, &load->errors.closed_by_broker, "connection %u closed: %s", connection->number, reason);
    connection_close(load, connection);
}

void connection_flush(struct load *load, struct connection *connection)
{
    if (connection->stage == STAGE_CLOSED || connection->stage == STAGE_CONNECTING)
        return;
    while (connection_pending(connection)) {
        ssize_t written = send(connection->descriptor, connection->output + connection->output_start,
                               connection_pending(connection), MSG_NOSIGNAL);
        load->counters.writes++;
        if (written < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN) {
                lost_connection(load, connection, strerror(errno));
                return;
            }
            if (!connection->watching_for_write)
                watch(load, connection, EPOLL_CTL_MOD, true);
            return;
        }
        connection->output_start += (size_t)written;
        load->counters.bytes_sent += (uint64_t)written;
    }
    connection->output_start = connection->output_end = 0;
    if (connection->watching_for_write)
        watch(load, connection, EPOLL_CTL_MOD, false);
}

void flush_all(struct load *load)
{
    for (size_t i = 0; i < load->dirty_count; i++) {
        struct connection *connection = load->dirty[i];
        connection->dirty = false;
        if (!connection->watching_for_write)
            connection_flush(load, connection);
    }
    load->dirty_count = 0;
}

static void keep_partial(struct connection *connection, const uint8_t *from, size_t length)
{
    if (length > connection->partial_capacity) {
        connection->partial = realloc(connection->partial, length);
        if (!connection->partial)
            abort();
        connection->partial_capacity = length;
    }
    if (length)
        memcpy(connection->partial, from, length);
    connection->partial_length = length;
}

static void connection_read(struct load *load, struct connection *connection)
{
    size_t kept = connection->partial_length;
    if (kept + READ_SIZE > scratch_capacity) {
        scratch_capacity = kept + 2 * READ_SIZE;
        scratch = realloc(scratch, scratch_capacity);
        if (!scratch)
            abort();
    }
    ssize_t received = recv(connection->descriptor, scratch + kept, READ_SIZE, 0);
    load->counters.reads++;
    if (received <= 0) {
        if (received < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        lost_connection(load, connection, received == 0 ? "end of stream" : strerror(errno));
        return;
    }
    load->counters.bytes_received += (uint64_t)received;
    if (kept)
        memcpy(scratch, connection->partial, kept);
    size_t length = kept + (size_t)received;
    size_t at = 0;
    while (length - at >= 2) {
        uint32_t remaining;
        int size = read_variable_integer(scratch + at + 1, length - at - 1, &remaining);
        if (size < 0) {
            note_error(load, &load->errors.protocol, "malformed remaining length");
            connection_close(load, connection);
            return;
        }
        size_t header = 1 + (size_t)size;
        if (size == 0 || length - at - header < remaining)
            break;
        handle_packet(load, connection, scratch[at], scratch + at + header, remaining);
        if (connection->stage == STAGE_CLOSED)
            return;
        at += header + remaining;
    }
    keep_partial(connection, scratch + at, length - at);
}

static void connection_established(struct load *load, struct connection *connection)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(connection->descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        lost_connection(load, connection, strerror(error));
        return;
    }
    watch(load, connection, EPOLL_CTL_MOD, false);
    start_session(load, connection);
}

void turn(struct load *load, uint64_t nanoseconds)
{
    static struct epoll_event events[EVENTS_PER_TURN];
    static bool without_nanoseconds;
    int count = -1;
    if (load->options.spin)
        nanoseconds = 0;
    else if (load->options.slow && nanoseconds > SLOW_INTERVAL)
        nanoseconds = SLOW_INTERVAL;
    if (!without_nanoseconds) {
        struct timespec wait = {.tv_sec = (time_t)(nanoseconds / 1000000000),
                                .tv_nsec = (long)(nanoseconds % 1000000000)};
        count = epoll_pwait2(load->epoll, events, EVENTS_PER_TURN, &wait, NULL);
        without_nanoseconds = count < 0 && errno == ENOSYS;
    }
    if (without_nanoseconds)
        count = epoll_wait(load->epoll, events, EVENTS_PER_TURN, (int)((nanoseconds + 999999) / 1000000));
    load->now = clock_nanoseconds();
    if (load->options.slow && load->now >= load->slow_due)
        slow_read_all(load);
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;
        uint32_t happened = events[i].events;
        if (connection->stage == STAGE_CONNECTING) {
            if (happened & (EPOLLOUT | EPOLLERR | EPOLLHUP))
                connection_established(load, connection);
            continue;
        }
        if (connection->role == ROLE_SLOW && connection->stage == STAGE_READY) {
            if (happened & (EPOLLERR | EPOLLHUP)) {
                load->counters.slow_closed++;
                load->should_be_open--;
                connection_close(load, connection);
            }
            continue;
        }
        if (connection->stage != STAGE_CLOSED && happened & EPOLLOUT) {
            connection_flush(load, connection);
            if (connection->publisher && !connection->watching_for_write)
                want_refill(load, connection->publisher);
        }
        if (connection->stage != STAGE_CLOSED && happened & (EPOLLIN | EPOLLERR | EPOLLHUP))
            connection_read(load, connection);
    }
}
