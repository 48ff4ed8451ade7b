// What the broker has kept for a subscriber: retained messages, and the queue of a session that was away.
#include "load.h"

#include <string.h>

void count_fetched(struct load *load, const uint8_t *payload)
{
    uint32_t sequence;
    memcpy(&sequence, payload + STAMP_SEQUENCE, sizeof sequence);
    if (sequence >= load->options.messages) {
        note_error(load, &load->errors.wrong_message, "retained message %u of %llu", sequence,
                   (unsigned long long)load->options.messages);
        return;
    }
    uint8_t bit = (uint8_t)(1u << (sequence & 7));
    if (load->fetched[sequence >> 3] & bit) {
        load->counters.duplicates++;
        return;
    }
    load->fetched[sequence >> 3] |= bit;
    load->counters.received++;
    load->last_progress = load->now;
}

uint64_t run_fetch(struct load *load)
{
    struct connection *connection = &load->subscribers[0].connection;
    uint8_t packet[SMALL_PACKET_SIZE];
    size_t length = packet_subscribe(packet, load->options.version, "#", load->options.qos);
    memcpy(connection_reserve(load, connection, length), packet, length);
    connection->stage = STAGE_WAIT_SUBACK;
    load->in_handshake++;
    load->ready--;
    load->counters.expected = load->options.messages;
    load->last_progress = load->now;
    while (load->counters.received < load->counters.expected && connection->stage != STAGE_CLOSED &&
           load->now < load->last_progress + stall_nanoseconds(load)) {
        flush_all(load);
        turn(load, stall_nanoseconds(load));
    }
    return load->last_progress;
}

uint64_t run_backlog(struct load *load)
{
    const struct options *options = &load->options;
    for (uint32_t i = 0; i < options->subscribers; i++) {
        struct connection *connection = &load->subscribers[i].connection;
        memcpy(connection_reserve(load, connection, 2), "\xE0\x00", 2);
        connection->stage = STAGE_LEAVING;
        load->ready--;
        load->should_be_open--;
    }
    load->last_progress = load->now;
    while (load->open > load->should_be_open && load->now < load->last_progress + stall_nanoseconds(load)) {
        flush_all(load);
        turn(load, stall_nanoseconds(load));
    }
    if (load->open > load->should_be_open) {
        note_error(load, &load->errors.protocol, "the broker does not close after DISCONNECT");
        return load->now;
    }
    uint64_t start = load->now = load->last_progress = clock_nanoseconds();
    run_closed_loop(load, options->messages, options->seconds);
    uint64_t sent = load->counters.sent;
    end_phase(load, "keep", start, sent, 0);

    load->counters.expected = sent * options->subscribers;
    start = load->now = load->last_progress = clock_nanoseconds();
    for (uint32_t i = 0; i < options->subscribers; i++)
        if (!connection_open(load, &load->subscribers[i].connection))
            return load->now;
    while (!settled(load) && load->errors.first[0] == 0 && load->now < load->last_progress + stall_nanoseconds(load)) {
        flush_all(load);
        turn(load, stall_nanoseconds(load));
    }
    flush_all(load);
    end_phase(load, "return", start, load->counters.received, load->counters.expected - load->counters.received);
    return load->last_progress;
}
