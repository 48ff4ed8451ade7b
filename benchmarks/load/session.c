// What a connection of the load generator does with each packet it receives: sessions, deliveries and all QoS flows.
#include "load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void note_error(struct load *load, uint64_t *counter, const char *format, ...)
{
    ++*counter;
    if (load->errors.first[0])
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(load->errors.first, sizeof load->errors.first, format, arguments);
    va_end(arguments);
}

static void fail(struct load *load, struct connection *connection, const char *reason)
{
    note_error(load, &load->errors.protocol, "%s", reason);
    connection_close(load, connection);
}

static void send_acknowledgement(struct load *load, struct connection *connection, uint8_t first, uint32_t identifier)
{
    uint8_t *to = connection_reserve(load, connection, 4);
    to[0] = first;
    to[1] = 2;
    to[2] = (uint8_t)(identifier >> 8);
    to[3] = (uint8_t)identifier;
}

void topic_name(const struct options *options, char *to, size_t size, uint32_t publisher)
{
    if (options->scenario == SCENARIO_SUBSCRIPTIONS)
        snprintf(to, size, "device/00000/00000/v");
    else if (options->topics)
        snprintf(to, size, "bench/load/%u/00000/00000/v", publisher);
    else if (options->pairs || options->own_topics)
        snprintf(to, size, "bench/load/%u", publisher);
    else
        snprintf(to, size, "bench/load");
}

void start_session(struct load *load, struct connection *connection)
{
    static const char *const roles[] = {"publisher", "subscriber", "idle", "visitor", "holder", "slow"};
    char identifier[64];
    snprintf(identifier, sizeof identifier, "load-%d-%s-%u", (int)getpid(), roles[connection->role],
             connection->number);
    uint8_t packet[2 * SMALL_PACKET_SIZE + 8];
    bool durable = load->options.durable && connection->role == ROLE_SUBSCRIBER;
    size_t length = packet_connect(packet, &load->options, identifier, connection->number, durable);
    memcpy(connection_reserve(load, connection, length), packet, length);
    connection->stage = STAGE_WAIT_CONNACK;
}

static void session_ready(struct load *load, struct connection *connection)
{
    connection->stage = STAGE_READY;
    load->in_handshake--;
    load->ready++;
    load->last_progress = load->now;
}

static void send_subscribe(struct load *load, struct connection *connection)
{
    // All of them match the topics of --topics; which one a subscriber has depends on its number.
    static const char *const overlapping[] = {"bench/load/#", "bench/+/#", "+/load/+/+/+/v", "bench/load/+/+/+/+", "+/+/#"};
    const struct options *options = &load->options;
    char filter[64], topic[64];
    topic_name(options, topic, sizeof topic, connection->number);
    if (connection->role == ROLE_VISITOR)
        snprintf(topic, sizeof topic, "bench/visit/%u", connection->number);
    else if (options->overlap)
        snprintf(topic, sizeof topic, "%s", overlapping[connection->number % (sizeof overlapping / sizeof *overlapping)]);
    else if (options->topics)
        snprintf(topic, sizeof topic, "bench/load/#");
    else if (options->own_topics && !options->pairs)
        snprintf(topic, sizeof topic, "bench/load/+");
    bool shared = options->shared && connection->role == ROLE_SUBSCRIBER;
    snprintf(filter, sizeof filter, "%s%.50s", shared ? "$share/load/" : "", topic);
    uint8_t packet[SMALL_PACKET_SIZE];
    int qos = connection->subscriber ? connection->subscriber->qos : options->qos;
    size_t length = packet_subscribe(packet, options->version, filter, qos);
    memcpy(connection_reserve(load, connection, length), packet, length);
    connection->stage = STAGE_WAIT_SUBACK;
}

static void handle_connack(struct load *load, struct connection *connection, const uint8_t *body, size_t length)
{
    if (connection->stage != STAGE_WAIT_CONNACK || length < 2) {
        fail(load, connection, "unexpected or short CONNACK");
        return;
    }
    if (body[1] != 0) {
        note_error(load, &load->errors.refused, "CONNACK with code %u", body[1]);
        connection_close(load, connection);
        return;
    }
    uint32_t receive_maximum = 65535, maximum_qos = 2;
    if (load->options.version == 5) {
        uint32_t size;
        int used = read_variable_integer(body + 2, length - 2, &size);
        if (used <= 0 || size != length - 2 - (size_t)used ||
            !read_connack_properties(body + 2 + used, size, &receive_maximum, &maximum_qos)) {
            fail(load, connection, "malformed properties in CONNACK");
            return;
        }
    }
    if (connection->publisher && maximum_qos < (uint32_t)connection->publisher->qos) {
        note_error(load, &load->errors.refused, "the broker allows QoS %u only", maximum_qos);
        connection_close(load, connection);
        return;
    }
    if (connection->publisher && receive_maximum < connection->publisher->in_flight_limit) {
        connection->publisher->in_flight_limit = receive_maximum;
        if (connection->publisher->free_count > receive_maximum)
            connection->publisher->free_count = receive_maximum;
    }
    bool returned = load->options.durable && connection->role == ROLE_SUBSCRIBER && body[0] & 1;
    bool later = load->options.scenario == SCENARIO_FETCH;  // run_fetch subscribes
    bool subscribes = connection->role == ROLE_SUBSCRIBER || connection->role == ROLE_VISITOR || connection->role == ROLE_SLOW;
    if (connection->role == ROLE_HOLDER || load->options.scenario == SCENARIO_SUBSCRIPTIONS)
        session_ready(load, connection);
    else if (subscribes && !returned && !later)
        send_subscribe(load, connection);
    else
        session_ready(load, connection);
}

static void handle_suback(struct load *load, struct connection *connection, const uint8_t *body, size_t length)
{
    size_t at = 2;
    uint32_t size = 0;
    if (load->options.version == 5 && length > 2) {
        int used = read_variable_integer(body + 2, length - 2, &size);
        at += used > 0 ? (size_t)used + size : length;
    }
    if (connection->stage != STAGE_WAIT_SUBACK || at + 1 != length || read_16(body) != 1) {
        fail(load, connection, "unexpected or malformed SUBACK");
        return;
    }
    int asked = connection->subscriber ? connection->subscriber->qos : load->options.qos;
    if (body[at] != asked) {
        note_error(load, &load->errors.refused, "SUBACK with code %u", body[at]);
        connection_close(load, connection);
        return;
    }
    session_ready(load, connection);
    if (connection->role == ROLE_SLOW)
        slow_begin(load, connection);
    if (connection->role == ROLE_VISITOR) {
        histogram_add(&load->latency, clock_nanoseconds() - connection->opened_at);
        memcpy(connection_reserve(load, connection, 2), "\xE0\x00", 2);
        connection->stage = STAGE_LEAVING;  // the broker ends the connection, and the visit, by closing
        load->ready--;
    }
}

static void count_delivery(struct load *load, struct subscriber *subscriber, const uint8_t *payload)
{
    uint32_t number, sequence;
    uint64_t stamp;
    memcpy(&number, payload + STAMP_PUBLISHER, sizeof number);
    memcpy(&sequence, payload + STAMP_SEQUENCE, sizeof sequence);
    memcpy(&stamp, payload + STAMP_TIME, sizeof stamp);
    bool pairs = load->options.pairs;
    if (number >= load->options.publishers || (pairs && number != subscriber->connection.number)) {
        note_error(load, &load->errors.wrong_message, "message of unknown publisher %u", number);
        return;
    }
    struct publisher *publisher = &load->publishers[number];
    int32_t ahead = 0;
    if (publisher->shared_seen) {  // in order for each subscriber, but nobody gets all of them
        uint8_t *byte = &publisher->shared_seen[(sequence & 0xFFFF) >> 3];
        uint8_t bit = (uint8_t)(1u << (sequence & 7));
        ahead = *byte & bit ? -1 : 0;
        *byte |= bit;
    } else {
        uint32_t *expected = &subscriber->expected[pairs ? 0 : number];
        ahead = (int32_t)(sequence - *expected);
        if (ahead >= 0)
            *expected = sequence + 1;
    }
    if (ahead < 0) {
        load->counters.duplicates++;
        return;
    }
    load->counters.gap_losses += (uint64_t)ahead;
    load->counters.received++;
    histogram_add(&load->latency, load->now > stamp ? load->now - stamp : 0);
    // After a stall the window is open already: what then comes late must not open it further.
    int64_t settled = (int64_t)ahead + 1;
    int64_t late = settled < publisher->given_up ? settled : publisher->given_up;
    publisher->given_up -= late;
    publisher->outstanding -= settled - late;
    publisher->last_progress = load->last_progress = load->now;
    // Half the window at a time makes the writes large, and the broker never runs out of work meanwhile.
    if (publisher->outstanding <= (int64_t)(load->window / 2) * load->deliveries_per_message)
        want_refill(load, publisher);
}

static void handle_publish(struct load *load, struct connection *connection, uint8_t first, const uint8_t *body,
                           size_t length)
{
    struct subscriber *subscriber = connection->subscriber;
    int qos = first >> 1 & 3;
    if (!subscriber || connection->stage < STAGE_WAIT_SUBACK) {
        fail(load, connection, "PUBLISH on a connection without subscription");
        return;
    }
    size_t at = length >= 2 ? 2 + (size_t)read_16(body) : length + 1;
    uint32_t identifier = 0;
    if (qos && at + 2 <= length)
        identifier = read_16(body + at);
    at += qos ? 2 : 0;
    if (load->options.version == 5 && at <= length) {
        uint32_t size;
        int used = read_variable_integer(body + at, length - at, &size);
        at += used > 0 ? (size_t)used + size : length + 1;
    }
    if (at > length || (qos && identifier == 0)) {
        fail(load, connection, "malformed PUBLISH");
        return;
    }
    bool fresh = true;
    if (qos == 2) {
        uint8_t bit = (uint8_t)(1u << (identifier & 7));
        fresh = !(subscriber->unreleased[identifier >> 3] & bit);
        subscriber->unreleased[identifier >> 3] |= bit;
        load->unreleased += fresh;
    }
    int wanted = load->options.qos;
    if (load->options.mixed_qos && length - at >= STAMP_SIZE) {
        uint32_t number;
        memcpy(&number, body + at + STAMP_PUBLISHER, sizeof number);
        int sent = number < load->options.publishers ? load->publishers[number].qos : 0;
        wanted = sent < subscriber->qos ? sent : subscriber->qos;
    }
    if (load->options.scenario == SCENARIO_FETCH) {
        wanted = 0;
        if (!(first & 1))
            note_error(load, &load->errors.wrong_message, "a message that is not marked as retained");
    }
    if (qos != wanted || length - at != load->options.payload)
        note_error(load, &load->errors.wrong_message, "message with QoS %d and %zu bytes", qos, length - at);
    else if (load->options.scenario == SCENARIO_FETCH)
        count_fetched(load, body + at);
    else if (fresh)
        count_delivery(load, subscriber, body + at);
    else
        load->counters.duplicates++;
    if (qos)
        send_acknowledgement(load, connection, qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, identifier);
}

static void finish_slot(struct load *load, struct publisher *publisher, uint32_t identifier)
{
    publisher->slots[identifier] = SLOT_FREE;
    publisher->free_slots[publisher->free_count++] = (uint16_t)identifier;
    load->unacknowledged--;
    load->last_progress = load->now;
    want_refill(load, publisher);
}

// PUBACK, PUBREC and PUBCOMP on a publisher's connection.
static void handle_publisher_step(struct load *load, struct connection *connection, uint8_t first, uint32_t identifier,
                                  uint8_t reason)
{
    struct publisher *publisher = connection->publisher;
    uint8_t awaited = first == PACKET_PUBACK ? SLOT_WAIT_PUBACK
                      : first == PACKET_PUBREC ? SLOT_WAIT_PUBREC
                                               : SLOT_WAIT_PUBCOMP;
    if (publisher->qos == 0 || identifier == 0 || identifier > load->options.in_flight ||
        publisher->slots[identifier] != awaited) {
        fail(load, connection, "acknowledgement of a message that does not wait for it");
        return;
    }
    if (reason >= 0x80)
        note_error(load, &load->errors.reason_code, "acknowledgement with reason code 0x%02X", reason);
    if (first == PACKET_PUBREC && reason < 0x80) {
        publisher->slots[identifier] = SLOT_WAIT_PUBCOMP;
        send_acknowledgement(load, connection, PACKET_PUBREL | 0x02, identifier);
        return;
    }
    finish_slot(load, publisher, identifier);
}

static void handle_pubrel(struct load *load, struct connection *connection, uint32_t identifier)
{
    uint8_t bit = (uint8_t)(1u << (identifier & 7));
    uint8_t *byte = connection->subscriber->unreleased ? &connection->subscriber->unreleased[identifier >> 3] : NULL;
    if (!byte || !(*byte & bit)) {
        fail(load, connection, "PUBREL for a message that was not received");
        return;
    }
    *byte &= (uint8_t)~bit;
    load->unreleased--;
    load->last_progress = load->now;
    send_acknowledgement(load, connection, PACKET_PUBCOMP, identifier);
}

void handle_packet(struct load *load, struct connection *connection, uint8_t first, const uint8_t *body, size_t length)
{
    uint8_t type = first & 0xF0;
    switch (type) {
    case PACKET_PUBLISH:
        handle_publish(load, connection, first, body, length);
        return;
    case PACKET_CONNACK:
        handle_connack(load, connection, body, length);
        return;
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
        if (connection->filters_asked)
            holder_answered(load, connection, type, body, length);
        else if (type == PACKET_SUBACK)
            handle_suback(load, connection, body, length);
        else
            break;
        return;
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP:
        if (length < 2 || (load->options.version == 4 && length != 2))
            break;
        if (type == PACKET_PUBREL && connection->subscriber)
            handle_pubrel(load, connection, read_16(body));
        else if (type != PACKET_PUBREL && connection->publisher)
            handle_publisher_step(load, connection, type, read_16(body), length > 2 ? body[2] : 0);
        else
            break;
        return;
    case PACKET_DISCONNECT:
        note_error(load, &load->errors.closed_by_broker, "DISCONNECT with reason code 0x%02X", length ? body[0] : 0);
        connection_close(load, connection);
        return;
    default:
        break;
    }
    fail(load, connection, "packet that a client must not receive here");
}
