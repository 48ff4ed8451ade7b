// Subscribers of the load generator that read slowly, so that the broker has to decide what becomes of the rest.
#include "load.h"

#include <errno.h>
#include <sys/socket.h>

void slow_begin(struct load *load, struct connection *connection)
{
    connection_pause(load, connection);
}

void slow_read_all(struct load *load)
{
    static uint8_t bytes[1 << 20];
    load->slow_due = load->now + SLOW_INTERVAL;
    size_t quota = (size_t)(load->options.slow_rate * SLOW_INTERVAL / 1e9);
    if (quota > sizeof bytes)
        quota = sizeof bytes;
    for (uint32_t i = 0; i < load->others_count && quota; i++) {
        struct connection *connection = &load->others[i];
        if (connection->role != ROLE_SLOW || connection->stage != STAGE_READY)
            continue;
        ssize_t received = recv(connection->descriptor, bytes, quota, MSG_DONTWAIT);
        if (received > 0) {
            load->counters.slow_bytes += (uint64_t)received;
        } else if (received == 0 || (errno != EAGAIN && errno != EINTR)) {
            load->counters.slow_closed++;
            load->should_be_open--;
            connection_close(load, connection);
        }
    }
}
