// Clients of the load generator with many subscriptions: making them, and taking them back.
#include "load.h"

#include <stdio.h>
#include <string.h>

static void filter_name(const struct load *load, char *to, size_t size, uint32_t number)
{
    if (load->options.scenario == SCENARIO_SUBSCRIPTIONS) {
        // As the topics of publish_one; every tenth ends with a wildcard.
        snprintf(to, size, "device/%05u/%05u/%c", number / 1000, number % 1000, number % 10 ? 'v' : '+');
        return;
    }
    // They share levels and wildcards with each other and with the topics that are published, and match none of those.
    switch (number % 5) {
    case 0: snprintf(to, size, "bench/load/+/other%u/#", number); break;
    case 1: snprintf(to, size, "bench/+/+/+/other%u", number); break;
    case 2: snprintf(to, size, "+/load/other%u/#", number); break;
    case 3: snprintf(to, size, "bench/load/0/+/other%u/+", number); break;
    default: snprintf(to, size, "+/+/+/+/+/other%u", number); break;
    }
}

void holder_ask(struct load *load, struct connection *connection)
{
    static struct filter_packet packet;
    filter_packet_open(&packet, load->options.version);
    uint32_t end = connection->filters_first + connection->filters_count;
    uint32_t number = connection->filters_first + connection->filters_done;
    for (; number < end && packet.count < FILTERS_PER_PACKET; number++) {
        char name[64];
        filter_name(load, name, sizeof name, number);
        filter_packet_add(&packet, name, connection->filters_removing ? -1 : 0);
    }
    size_t length;
    uint8_t first = connection->filters_removing ? PACKET_UNSUBSCRIBE : PACKET_SUBSCRIBE;
    const uint8_t *bytes = filter_packet_close(&packet, first, &length);
    memcpy(connection_reserve(load, connection, length), bytes, length);
    connection->filters_asked = packet.count;
}

void holder_answered(struct load *load, struct connection *connection, uint8_t first, const uint8_t *body, size_t length)
{
    bool removing = connection->filters_removing;
    size_t codes = removing && load->options.version == 4 ? 0 : connection->filters_asked;
    size_t at = 2;
    if (load->options.version == 5 && length > 2) {
        uint32_t size;
        int used = read_variable_integer(body + 2, length - 2, &size);
        at += used > 0 ? (size_t)used + size : length;
    }
    bool good = first == (removing ? PACKET_UNSUBACK : PACKET_SUBACK) && at + codes == length;
    for (size_t i = at; good && i < length; i++)
        good = body[i] == 0;
    if (!good) {
        note_error(load, &load->errors.refused, "the broker refuses to %s filters", removing ? "remove" : "insert");
        connection_close(load, connection);
        return;
    }
    connection->filters_done += connection->filters_asked;
    connection->filters_asked = 0;
    load->last_progress = load->now;
    if (connection->filters_done < connection->filters_count)
        holder_ask(load, connection);
}

static bool all_done(struct load *load, struct connection *(*at)(struct load *, uint32_t), uint32_t count)
{
    // What takes long is one packet of many: a broker may be slow with it and still go on.
    static const uint64_t PATIENCE = 60000000000;
    for (uint32_t i = 0; i < count; i++) {
        struct connection *connection = at(load, i);
        connection->filters_done = 0;
        if (connection->filters_count)
            holder_ask(load, connection);
    }
    load->last_progress = load->now = clock_nanoseconds();
    for (;;) {
        flush_all(load);
        uint32_t waiting = 0;
        for (uint32_t i = 0; i < count; i++)
            waiting += at(load, i)->filters_done < at(load, i)->filters_count;
        if (waiting == 0 || load->errors.first[0])
            return waiting == 0;
        if (load->now > load->last_progress + PATIENCE) {
            note_error(load, &load->errors.refused, "%u clients wait for their SUBACK or UNSUBACK", waiting);
            return false;
        }
        turn(load, stall_nanoseconds(load));
    }
}

static struct connection *other_at(struct load *load, uint32_t index)
{
    return &load->others[index];
}

static struct connection *subscriber_at(struct load *load, uint32_t index)
{
    return &load->subscribers[index].connection;
}

bool hold_filters(struct load *load)
{
    return all_done(load, other_at, load->others_count);
}

uint64_t run_subscriptions(struct load *load)
{
    const struct options *options = &load->options;
    uint32_t each = options->filters / options->subscribers, rest = options->filters % options->subscribers;
    uint32_t first = 0;
    for (uint32_t i = 0; i < options->subscribers; i++) {
        struct connection *connection = &load->subscribers[i].connection;
        connection->filters_first = first;
        connection->filters_count = each + (i < rest);
        first += connection->filters_count;
    }
    uint64_t start = clock_nanoseconds();
    if (!all_done(load, subscriber_at, options->subscribers))
        return load->now;
    end_phase(load, "insert", start, options->filters, 0);
    start = load->now = load->last_progress = clock_nanoseconds();
    run_closed_loop(load, options->messages, options->seconds);
    end_phase(load, "match", start, load->counters.sent + load->counters.received,
              load->counters.expected - load->counters.received);
    for (uint32_t i = 0; i < options->subscribers; i++)
        load->subscribers[i].connection.filters_removing = true;
    start = clock_nanoseconds();
    if (all_done(load, subscriber_at, options->subscribers))
        end_phase(load, "remove", start, options->filters, 0);
    return load->last_progress;
}
