// Writes the MQTT packets that the load generator sends, and reads the variable parts of those that it receives.
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t write_variable_integer(uint8_t *to, size_t value)
{
    size_t size = 0;
    do {
        uint8_t byte = value & 0x7F;
        value >>= 7;
        to[size++] = value ? byte | 0x80 : byte;
    } while (value);
    return size;
}

static size_t write_16(uint8_t *to, size_t value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
    return 2;
}

static size_t write_string(uint8_t *to, const char *text)
{
    size_t length = strlen(text);
    write_16(to, length);
    memcpy(to + 2, text, length);
    return 2 + length;
}

int read_variable_integer(const uint8_t *from, size_t available, uint32_t *value)
{
    uint32_t result = 0;
    for (int i = 0; i < 4; i++) {
        if ((size_t)i >= available)
            return 0;
        result |= (uint32_t)(from[i] & 0x7F) << (7 * i);
        if (!(from[i] & 0x80)) {
            *value = result;
            return i + 1;
        }
    }
    return -1;
}

size_t packet_connect(uint8_t *to, const struct options *options, const char *client_identifier, uint32_t user,
                      bool durable)
{
    uint8_t body[2 * SMALL_PACKET_SIZE];
    size_t length = write_string(body, "MQTT");
    body[length++] = (uint8_t)options->version;
    // clean session, clean start, unless the session is to be found again
    body[length++] = (uint8_t)((durable ? 0 : 0x02) | (options->users ? 0xC0 : 0));
    length += write_16(body + length, 3600);     // keep alive: longer than any run, so that no PINGREQ is needed
    if (options->version == 5 && durable) {
        memcpy(body + length, "\x05\x11\x00\x00\x0e\x10", 6);  // session expiry interval: an hour
        length += 6;
    } else if (options->version == 5) {
        body[length++] = 0;                      // no properties
    }
    length += write_string(body + length, client_identifier);
    if (options->users) {
        char text[32];
        snprintf(text, sizeof text, "user%u", user % options->users);
        length += write_string(body + length, text);
        snprintf(text, sizeof text, "password %u", user % options->users);
        length += write_string(body + length, text);
    }
    to[0] = PACKET_CONNECT;
    size_t header = 1 + write_variable_integer(to + 1, length);
    memcpy(to + header, body, length);
    return header + length;
}

size_t packet_subscribe(uint8_t *to, int version, const char *filter, int qos)
{
    uint8_t body[SMALL_PACKET_SIZE];
    size_t length = write_16(body, 1);
    if (version == 5)
        body[length++] = 0;
    length += write_string(body + length, filter);
    body[length++] = (uint8_t)qos;
    to[0] = PACKET_SUBSCRIBE | 0x02;
    size_t header = 1 + write_variable_integer(to + 1, length);
    memcpy(to + header, body, length);
    return header + length;
}

void write_topic_number(uint8_t *to, uint32_t number)
{
    uint32_t parts[] = {number / 1000, number % 1000};
    for (int part = 0; part < 2; part++) {
        uint8_t *at = to + part * 6;
        for (int digit = 4; digit >= 0; digit--) {
            at[digit] = (uint8_t)('0' + parts[part] % 10);
            parts[part] /= 10;
        }
    }
    to[5] = '/';
}

// Room for the first byte and a remaining length of at most two bytes, then the packet identifier and no properties.
enum { FILTER_PACKET_HEADER = 3 };

void filter_packet_open(struct filter_packet *packet, int version)
{
    packet->length = FILTER_PACKET_HEADER;
    packet->length += write_16(packet->bytes + packet->length, 1);
    packet->version = version;
    packet->count = 0;
    if (version == 5)
        packet->bytes[packet->length++] = 0;
}

void filter_packet_add(struct filter_packet *packet, const char *filter, int qos)
{
    packet->length += write_string(packet->bytes + packet->length, filter);
    if (qos >= 0)
        packet->bytes[packet->length++] = (uint8_t)qos;
    packet->count++;
}

const uint8_t *filter_packet_close(struct filter_packet *packet, uint8_t first, size_t *length)
{
    size_t remaining = packet->length - FILTER_PACKET_HEADER;
    size_t start = remaining < 128 ? 1 : 0;
    packet->bytes[start] = first | 0x02;
    write_variable_integer(packet->bytes + start + 1, remaining);
    *length = packet->length - start;
    return packet->bytes + start;
}

// Properties that applications commonly set: one that the broker rewrites, the others passed on as they are.
static size_t write_publish_properties(uint8_t *to)
{
    size_t length = 0;
    to[length++] = 0x02;  // message expiry interval: an hour
    memcpy(to + length, "\x00\x00\x0e\x10", 4);
    length += 4;
    to[length++] = 0x03;
    length += write_string(to + length, "application/octet-stream");
    to[length++] = 0x26;
    length += write_string(to + length, "source");
    length += write_string(to + length, "load");
    return length;
}

void packet_publish_template(struct template *template, const struct options *options, const char *topic,
                             uint32_t publisher, int qos)
{
    uint8_t head[2 * SMALL_PACKET_SIZE];
    size_t length = write_string(head, topic);
    size_t identifier_offset = length;
    if (qos)
        length += write_16(head + length, 0);
    if (options->version == 5) {
        uint8_t properties[SMALL_PACKET_SIZE];
        size_t size = options->properties ? write_publish_properties(properties) : 0;
        length += write_variable_integer(head + length, size);
        memcpy(head + length, properties, size);
        length += size;
    }
    uint8_t *bytes = malloc(5 + length + options->payload);
    if (!bytes)
        abort();
    bytes[0] = (uint8_t)(PACKET_PUBLISH | qos << 1 | (options->retain ? 1 : 0));
    size_t header = 1 + write_variable_integer(bytes + 1, length + options->payload);
    memcpy(bytes + header, head, length);
    template->bytes = bytes;
    template->identifier_offset = qos ? header + identifier_offset : 0;
    template->number_offset = options->topics ? header + identifier_offset - 2 - NUMBER_SIZE : 0;
    template->payload_offset = header + length;
    template->length = header + length + options->payload;
    uint8_t *payload = bytes + template->payload_offset;
    for (size_t i = 0; i < options->payload; i++)
        payload[i] = (uint8_t)('a' + i % 26);
    memcpy(payload + STAMP_PUBLISHER, &publisher, sizeof publisher);
}

// Size of a property's value, 0 if it does not fit in what is left or the property does not belong in a CONNACK.
static size_t connack_property_size(uint8_t identifier, const uint8_t *value, size_t left)
{
    size_t size = 0;
    switch (identifier) {
    case 0x24: case 0x25: case 0x28: case 0x29: case 0x2A:
        size = 1;
        break;
    case 0x13: case 0x21: case 0x22:
        size = 2;
        break;
    case 0x11: case 0x27:
        size = 4;
        break;
    case 0x12: case 0x15: case 0x16: case 0x1A: case 0x1C: case 0x1F:
        size = left < 2 ? 2 : 2 + read_16(value);
        break;
    case 0x26:
        size = left < 2 ? 2 : 2 + read_16(value);
        size += left < size + 2 ? 2 : 2 + read_16(value + size);
        break;
    default:
        break;
    }
    return size <= left ? size : 0;
}

bool read_connack_properties(const uint8_t *from, size_t length, uint32_t *receive_maximum, uint32_t *maximum_qos)
{
    size_t at = 0;
    while (at < length) {
        uint8_t identifier = from[at++];
        size_t size = connack_property_size(identifier, from + at, length - at);
        if (size == 0)
            return false;
        if (identifier == 0x21)
            *receive_maximum = read_16(from + at);
        if (identifier == 0x24)
            *maximum_qos = from[at];
        at += size;
    }
    return true;
}
