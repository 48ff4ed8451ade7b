// Types and functions shared by the files of the load generator.
#ifndef NOCTULE_LOAD_H
#define NOCTULE_LOAD_H

// For epoll_pwait2 and sched_setaffinity. Every file includes this one first, so it precedes the system headers.
#define _GNU_SOURCE

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- options -------------------------------------------------------------------------------------------------------

enum scenario {
    SCENARIO_FLOOD,          // publishers and subscribers on one topic, closed loop: fan-in, fan-out, 1 to 1
    SCENARIO_PAIRS,          // as many publishers as subscribers, each pair with its own topic, closed loop
    SCENARIO_PING_PONG,      // 1 to 1, the next message leaves when the last one has arrived
    SCENARIO_OPEN_LOOP,      // every publisher sends at a fixed rate, whatever comes back
    SCENARIO_IDLE,           // connections that are opened and then left alone
    SCENARIO_STORM,          // connect, subscribe, disconnect, again and again
    SCENARIO_FETCH,          // one subscription to everything, and the retained messages that it brings
    SCENARIO_BACKLOG,        // messages for sessions that are away, and then their return
    SCENARIO_SUBSCRIPTIONS,  // many subscriptions are made, met by messages, and taken back
};

struct options {
    enum scenario scenario;
    const char *scenario_name;
    uint32_t address;  // IPv4, network byte order, always inside 127.0.0.0/8
    uint16_t port;
    uint32_t publishers;
    uint32_t subscribers;
    uint32_t connections;  // idle: how many to open; storm: how many visits to make
    uint32_t concurrency;  // how many connections may be in their handshake at one time
    int version;           // 4 for MQTT 3.1.1, 5 for MQTT 5.0
    int qos;
    bool properties;  // version 5: add properties to every PUBLISH
    bool pairs;       // subscriber n listens to publisher n alone
    bool own_topics;  // flood and open loop: every publisher has its own topic, the subscribers use a wildcard
    bool shared;      // the subscribers share one subscription, so that each message reaches one of them
    bool overlap;     // the subscribers have different filters that all match
    bool mixed_qos;   // QoS 0, 1 and 2 in turn, by the number of the publisher and of the subscriber
    bool durable;     // the subscribers' sessions outlive their connections
    bool retain;      // every message is retained
    uint32_t topics;   // each publisher goes through this many topics, one after the other; 0: it has one
    uint32_t filters;  // flood, open loop: filters of others that match nothing; subscriptions: how many in all
    uint32_t slow;     // flood, open loop: further subscribers that read slowly and are not counted
    double slow_rate;  // bytes per second that a slow subscriber reads
    uint32_t users;  // connection n is the user n modulo this, with a password of its own; 0: nobody
    bool spin;        // never sleep in epoll_wait
    bool handshake;   // announce the measured phase on stderr and wait for a line on stdin around it
    size_t payload;
    uint64_t messages;  // upper limit of messages published in the measured phase
    uint64_t warm_up;   // messages published before the measured phase
    double seconds;     // upper limit of the measured phase's publishing time
    double rate;        // open loop: messages per second of one publisher
    double tick;        // open loop: seconds between sends; what falls due in between leaves together; 0 for none
    double stall;       // seconds without any delivery after which what is outstanding counts as lost
    uint32_t in_flight;  // QoS 1 and 2: unacknowledged messages of one publisher
    uint32_t window;     // messages of one publisher that have not yet been delivered; 0 chooses one
    int core;            // processor to run on, -1 for any
};

void options_parse(struct options *options, int count, char **arguments);

// ---- latency histogram ---------------------------------------------------------------------------------------------

// 64 buckets in every power of two: a value is kept with an error of at most 1.6 %.
enum { HISTOGRAM_SUB_BUCKETS = 64, HISTOGRAM_BUCKETS = HISTOGRAM_SUB_BUCKETS * 40 };

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t maximum;
};

void histogram_reset(struct histogram *histogram);
void histogram_add(struct histogram *histogram, uint64_t nanoseconds);
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

// ---- packets -------------------------------------------------------------------------------------------------------

enum packet_type {
    PACKET_CONNECT = 0x10,
    PACKET_CONNACK = 0x20,
    PACKET_PUBLISH = 0x30,
    PACKET_PUBACK = 0x40,
    PACKET_PUBREC = 0x50,
    PACKET_PUBREL = 0x60,
    PACKET_PUBCOMP = 0x70,
    PACKET_SUBSCRIBE = 0x80,
    PACKET_SUBACK = 0x90,
    PACKET_UNSUBSCRIBE = 0xA0,
    PACKET_UNSUBACK = 0xB0,
    PACKET_DISCONNECT = 0xE0,
};

// The payload starts with this: who sent it, its place in that publisher's sequence, and when.
enum { STAMP_PUBLISHER = 0, STAMP_SEQUENCE = 4, STAMP_TIME = 8, STAMP_SIZE = 16 };

struct template {
    uint8_t *bytes;
    size_t length;
    size_t identifier_offset;  // 0 at QoS 0
    size_t payload_offset;
    size_t number_offset;  // of the digits of the topic; 0 if it has none
};

enum { SMALL_PACKET_SIZE = 256 };

// ``user`` counts where there are users, and ``durable`` asks for a session that outlives the connection.
size_t packet_connect(uint8_t *to, const struct options *options, const char *client_identifier, uint32_t user,
                      bool durable);
size_t packet_subscribe(uint8_t *to, int version, const char *filter, int qos);
void packet_publish_template(struct template *template, const struct options *options, const char *topic,
                             uint32_t publisher, int qos);
// The two levels of digits with which a numbered topic ends, before its last level: ccccc/kkkkk for c thousands and k.
enum { NUMBER_SIZE = 11 };
void write_topic_number(uint8_t *to, uint32_t number);
// SUBSCRIBE or UNSUBSCRIBE with several filters: open one, add filters, and close it, which gives its size.
struct filter_packet {
    uint8_t bytes[8192];
    size_t length;
    int version;
    uint32_t count;
};
void filter_packet_open(struct filter_packet *packet, int version);
void filter_packet_add(struct filter_packet *packet, const char *filter, int qos);  // qos -1: for UNSUBSCRIBE
const uint8_t *filter_packet_close(struct filter_packet *packet, uint8_t first, size_t *length);
// Reads a variable byte integer. Returns its size, 0 if more bytes are needed, -1 if it is malformed.
int read_variable_integer(const uint8_t *from, size_t available, uint32_t *value);
// Finds Receive Maximum and Maximum QoS among a CONNACK's properties. Returns false if they are malformed.
bool read_connack_properties(const uint8_t *from, size_t length, uint32_t *receive_maximum, uint32_t *maximum_qos);

static inline uint32_t read_16(const uint8_t *from)
{
    return (uint32_t)from[0] << 8 | from[1];
}

// ---- connections ---------------------------------------------------------------------------------------------------

enum stage { STAGE_CLOSED, STAGE_CONNECTING, STAGE_WAIT_CONNACK, STAGE_WAIT_SUBACK, STAGE_READY, STAGE_LEAVING };
enum role { ROLE_PUBLISHER, ROLE_SUBSCRIBER, ROLE_IDLE, ROLE_VISITOR, ROLE_HOLDER, ROLE_SLOW };
// A holder has many subscriptions, which are asked for in packets of so many.
enum { FILTERS_PER_PACKET = 100, FILTERS_PER_HOLDER = 1000 };

struct publisher;
struct subscriber;

struct connection {
    int descriptor;
    enum stage stage;
    enum role role;
    uint32_t number;
    bool watching_for_write;
    bool dirty;  // in the list of connections with output to write
    struct publisher *publisher;
    struct subscriber *subscriber;
    uint64_t opened_at;
    uint8_t *output;
    size_t output_start, output_end, output_capacity;
    uint8_t *partial;  // the start of a packet whose rest has not come yet
    size_t partial_length, partial_capacity;
    uint32_t filters_first, filters_count, filters_done;  // holder: which of the numbered filters are its own
    uint32_t filters_asked;                               // how many are in the packet that is not answered yet
    bool filters_removing;
};

enum slot_state { SLOT_FREE, SLOT_WAIT_PUBACK, SLOT_WAIT_PUBREC, SLOT_WAIT_PUBCOMP };

struct publisher {
    struct connection connection;
    struct template template;
    int qos;
    uint32_t topic_number;   // of the next message
    uint8_t *shared_seen;    // shared: bit set of the last 65,536 sequence numbers that somebody has received
    uint32_t sequence;       // of the next message
    int64_t outstanding;     // deliveries still expected
    int64_t given_up;        // deliveries no longer waited for after a stall; they may still come
    uint64_t last_progress;  // when a delivery last came back, or a message was sent with none outstanding
    bool wants_refill;       // in the list of publishers whose window has opened
    uint16_t *free_slots;    // packet identifiers not in use
    uint32_t free_count;
    uint8_t *slots;  // slot_state by packet identifier
    uint32_t in_flight_limit;
};

struct subscriber {
    struct connection connection;
    int qos;
    uint32_t *expected;  // next sequence, by publisher (one entry only for pairs)
    uint8_t *unreleased;  // QoS 2: bit set of packet identifiers received and not yet released
};

struct errors {
    uint64_t connect_failed;   // no TCP connection
    uint64_t refused;          // CONNACK or SUBACK with a failure code
    uint64_t closed_by_broker;  // connection ended while it was in use
    uint64_t protocol;         // a packet that is malformed or not allowed at this point
    uint64_t reason_code;      // an acknowledgement with a failure code
    uint64_t wrong_message;    // a PUBLISH with an unknown publisher, another QoS or another size
    char first[160];           // the first error in words
};

struct counters {
    uint64_t sent;
    uint64_t expected;    // deliveries that the messages sent should bring
    uint64_t received;    // deliveries, each counted once and only in order
    uint64_t duplicates;  // deliveries with a sequence number at or before the last one: repeated or out of order
    uint64_t gap_losses;  // losses noticed by a jump in the sequence numbers
    uint64_t stalls;      // times that a publisher's window was re-opened after the stall time
    uint64_t held_back;   // open loop: messages not sent since the broker had stopped reading or acknowledging
    uint64_t bytes_sent, bytes_received;
    uint64_t reads, writes;
    uint64_t visits;      // storm: complete connect, subscribe, disconnect rounds
    uint64_t slow_bytes;  // read by slow subscribers
    uint64_t slow_closed;  // slow subscribers that the broker has disconnected
};

// A part of the measured phase that is accounted for on its own.
struct phase {
    const char *name;
    double seconds;
    uint64_t units;  // what was done in it: messages in and out, or subscriptions
    uint64_t lost;
};
enum { PHASES = 4 };

struct load {
    struct options options;
    struct errors errors;
    struct counters counters;
    struct histogram latency;
    int epoll;
    uint64_t now;            // time of the current turn of the loop
    uint64_t last_progress;  // of any connection
    uint64_t unacknowledged;  // messages published at QoS 1 or 2 whose flow is not complete
    uint64_t unreleased;     // messages received at QoS 2 and not yet released
    uint32_t deliveries_per_message;
    uint32_t window;
    bool sending;            // false while connecting and once the limit is reached
    uint32_t in_handshake;
    uint32_t ready;
    uint32_t open;
    uint32_t should_be_open;  // once all are ready: those whose end makes the run fail
    uint64_t sockets_opened;
    struct publisher *publishers;
    struct subscriber *subscribers;
    struct connection *others;
    uint32_t others_count;
    uint32_t topic_step;  // from the topic of one message to that of the publisher's next
    uint64_t slow_due;  // when slow subscribers read next
    uint8_t *fetched;   // fetch: bit set of sequence numbers
    struct phase phases[PHASES];
    uint32_t phase_count;
    struct connection **dirty;
    size_t dirty_count;
    struct publisher **refill;
    size_t refill_count;
};

uint64_t clock_nanoseconds(void);
void note_error(struct load *load, uint64_t *counter, const char *format, ...) __attribute__((format(printf, 3, 4)));

bool connection_open(struct load *load, struct connection *connection);
void connection_close(struct load *load, struct connection *connection);
// Reads nothing more from it; its end is still noticed.
void connection_pause(struct load *load, struct connection *connection);
// Makes room for this many bytes at the end of the output and returns where they start.
uint8_t *connection_reserve(struct load *load, struct connection *connection, size_t length);
void connection_flush(struct load *load, struct connection *connection);
void flush_all(struct load *load);
static inline size_t connection_pending(const struct connection *connection)
{
    return connection->output_end - connection->output_start;
}
// Waits up to this long, then reads, answers and writes wherever the system says it is possible.
void turn(struct load *load, uint64_t nanoseconds);

// ---- what a connection does with a packet --------------------------------------------------------------------------

void handle_packet(struct load *load, struct connection *connection, uint8_t first, const uint8_t *body, size_t length);
// Called when the connection is up: sends CONNECT.
void start_session(struct load *load, struct connection *connection);
void topic_name(const struct options *options, char *to, size_t size, uint32_t publisher);
// Ends the phase: the process that measures reads the broker's accounting before it goes on.
void end_phase(struct load *load, const char *name, uint64_t start, uint64_t units, uint64_t lost);

// ---- many subscriptions (filters.c) --------------------------------------------------------------------------------

void holder_ask(struct load *load, struct connection *connection);
void holder_answered(struct load *load, struct connection *connection, uint8_t first, const uint8_t *body, size_t length);
// Makes the subscriptions of all holders.
bool hold_filters(struct load *load);
uint64_t run_subscriptions(struct load *load);

// ---- subscribers that read slowly (slow.c) -------------------------------------------------------------------------

enum { SLOW_INTERVAL = 10000000 };  // nanoseconds between two reads
void slow_begin(struct load *load, struct connection *connection);
void slow_read_all(struct load *load);

// ---- what is kept for a subscriber (kept.c) ------------------------------------------------------------------------

void count_fetched(struct load *load, const uint8_t *payload);
uint64_t run_fetch(struct load *load);
uint64_t run_backlog(struct load *load);

// ---- steps of a run that the files above share (load.c) ------------------------------------------------------------

uint64_t run_closed_loop(struct load *load, uint64_t messages, double seconds);
bool settled(const struct load *load);
static inline uint64_t stall_nanoseconds(const struct load *load)
{
    return (uint64_t)(load->options.stall * 1e9);
}

// ---- publishing ----------------------------------------------------------------------------------------------------

void want_refill(struct load *load, struct publisher *publisher);
// Appends one message to the publisher's output. Returns false if it has no packet identifier left.
bool publish_one(struct load *load, struct publisher *publisher, uint64_t stamp);

#endif
