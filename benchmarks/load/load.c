// A load generator for MQTT brokers: one thread, one epoll loop, one JSON object with the result on stdout.
//
// The loop is closed: a publisher may have a window of messages that have not been delivered yet, and sends more as
// deliveries come back. So nothing is lost because the generator pushed harder than the broker could carry, and what
// is lost is noticed: by a jump in the sequence numbers, or after a time without deliveries.
#include "load.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const uint64_t SECOND = 1000000000;
static const uint64_t LONGEST_WAIT = 50000000;  // so that time limits are noticed when nothing comes
static const double SETUP_LIMIT = 60;           // seconds for all connections to become ready

// Bounds of the window when none is given, chosen below the size at which brokers start to drop for a slow reader.
enum { WINDOW_MESSAGES = 1000, WINDOW_BYTES_PER_SUBSCRIBER = 256 * 1024, WINDOW_BYTES_IN_ALL = 4 * 1024 * 1024 };
// One publisher's output is not filled past this: the socket takes less than that at a time anyway.
// A prime number, so that messages of neighbouring numbers go to topics that are far from each other.
enum { DISTANT_STEP = 611953, SHARED_SEEN_SIZE = 65536 / 8 };
enum { OUTPUT_LIMIT = 256 * 1024, OPEN_LOOP_OUTPUT_LIMIT = 4 * 1024 * 1024 };

uint64_t clock_nanoseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static uint64_t processor_nanoseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        abort();
    return memory;
}

// ---- publishing ----------------------------------------------------------------------------------------------------

void want_refill(struct load *load, struct publisher *publisher)
{
    if (publisher->wants_refill)
        return;
    publisher->wants_refill = true;
    load->refill[load->refill_count++] = publisher;
}

bool publish_one(struct load *load, struct publisher *publisher, uint64_t stamp)
{
    const struct template *template = &publisher->template;
    uint16_t identifier = 0;
    if (template->identifier_offset) {
        if (publisher->free_count == 0)
            return false;
        identifier = publisher->free_slots[--publisher->free_count];
        publisher->slots[identifier] = publisher->qos == 1 ? SLOT_WAIT_PUBACK : SLOT_WAIT_PUBREC;
        load->unacknowledged++;
    }
    uint8_t *to = connection_reserve(load, &publisher->connection, template->length);
    memcpy(to, template->bytes, template->length);
    if (identifier) {
        to[template->identifier_offset] = (uint8_t)(identifier >> 8);
        to[template->identifier_offset + 1] = (uint8_t)identifier;
    }
    if (template->number_offset) {
        write_topic_number(to + template->number_offset, publisher->topic_number);
        publisher->topic_number = (uint32_t)(((uint64_t)publisher->topic_number + load->topic_step) % load->options.topics);
    }
    if (publisher->shared_seen)
        publisher->shared_seen[(publisher->sequence & 0xFFFF) >> 3] &= (uint8_t)~(1u << (publisher->sequence & 7));
    uint8_t *payload = to + template->payload_offset;
    memcpy(payload + STAMP_SEQUENCE, &publisher->sequence, sizeof publisher->sequence);
    memcpy(payload + STAMP_TIME, &stamp, sizeof stamp);
    publisher->sequence++;
    if (publisher->outstanding == 0)
        publisher->last_progress = load->now;
    publisher->outstanding += load->deliveries_per_message;
    load->counters.sent++;
    load->counters.expected += load->deliveries_per_message;
    return true;
}

static void refill_all(struct load *load, uint64_t limit)
{
    uint64_t stamp = clock_nanoseconds();
    int64_t most = (int64_t)load->window * load->deliveries_per_message;
    for (size_t i = 0; i < load->refill_count; i++) {
        struct publisher *publisher = load->refill[i];
        publisher->wants_refill = false;
        if (!load->sending || publisher->connection.stage != STAGE_READY)
            continue;
        while (load->counters.sent < limit && publisher->outstanding + load->deliveries_per_message <= most &&
               connection_pending(&publisher->connection) < OUTPUT_LIMIT && publish_one(load, publisher, stamp))
            ;
    }
    load->refill_count = 0;
}

// Gives up what a publisher has had outstanding for too long, so that its window opens again.
static void forgive_stalls(struct load *load)
{
    uint64_t stall = (uint64_t)(load->options.stall * 1e9);
    for (uint32_t i = 0; i < load->options.publishers; i++) {
        struct publisher *publisher = &load->publishers[i];
        if (publisher->outstanding == 0 || load->now < publisher->last_progress + stall)
            continue;
        publisher->given_up += publisher->outstanding;
        publisher->outstanding = 0;
        publisher->last_progress = load->now;
        load->counters.stalls++;
        want_refill(load, publisher);
    }
}

// ---- the phases of a run -------------------------------------------------------------------------------------------

static struct connection *connection_at(struct load *load, uint32_t index)
{
    if (index < load->options.subscribers)
        return &load->subscribers[index].connection;
    index -= load->options.subscribers;
    if (index < load->options.publishers)
        return &load->publishers[index].connection;
    return &load->others[index - load->options.publishers];
}

// Opens this many connections, not too many at a time, and waits until each has its session and subscription.
static bool open_all(struct load *load, uint32_t count)
{
    uint64_t deadline = clock_nanoseconds() + (uint64_t)(SETUP_LIMIT * 1e9);
    uint32_t opened = 0;
    while (load->ready < count && load->errors.first[0] == 0) {
        while (opened < count && load->in_handshake < load->options.concurrency)
            if (!connection_open(load, connection_at(load, opened++)))
                return false;
        turn(load, LONGEST_WAIT);
        flush_all(load);
        if (load->now > deadline) {
            note_error(load, &load->errors.connect_failed, "only %u of %u connections were ready in time", load->ready,
                       count);
            return false;
        }
    }
    return load->errors.first[0] == 0;
}

static void begin_phase(struct load *load)
{
    load->counters = (struct counters){0};
    histogram_reset(&load->latency);
    load->now = load->last_progress = clock_nanoseconds();
    for (uint32_t i = 0; i < load->options.publishers; i++) {
        load->publishers[i].outstanding = load->publishers[i].given_up = 0;
        if (load->publishers[i].shared_seen)  // what comes late of an earlier phase counts as a repetition
            memset(load->publishers[i].shared_seen, 0xFF, SHARED_SEEN_SIZE);
    }
    for (uint32_t i = 0; i < load->options.subscribers && !load->options.shared; i++) {
        if (load->options.pairs) {
            load->subscribers[i].expected[0] = load->publishers[i].sequence;
            continue;
        }
        for (uint32_t j = 0; j < load->options.publishers; j++)
            load->subscribers[i].expected[j] = load->publishers[j].sequence;
    }
}

bool settled(const struct load *load)
{
    const struct counters *counters = &load->counters;
    return counters->received + counters->gap_losses >= counters->expected && load->unacknowledged == 0 &&
           load->unreleased == 0;
}

// Once a connection is lost the run has failed: there is no use in waiting for its time to pass.
static bool connection_missing(const struct load *load)
{
    return load->open < load->should_be_open;
}

// Publishes until the first limit is reached, then waits for what is on its way. Returns the time of the last progress.
uint64_t run_closed_loop(struct load *load, uint64_t messages, double seconds)
{
    uint64_t start = load->now;
    uint64_t deadline = start + (uint64_t)(seconds * 1e9);
    uint64_t stall = (uint64_t)(load->options.stall * 1e9);
    uint64_t next_check = start + SECOND / 10;
    load->sending = true;
    for (uint32_t i = 0; i < load->options.publishers; i++)
        want_refill(load, &load->publishers[i]);
    for (;;) {
        if (load->now >= deadline || load->counters.sent >= messages || connection_missing(load))
            load->sending = false;
        refill_all(load, messages);
        flush_all(load);
        if (!load->sending && (settled(load) || load->now > load->last_progress + stall))
            break;
        turn(load, LONGEST_WAIT);
        if (load->now >= next_check && load->sending) {
            forgive_stalls(load);
            next_check = load->now + SECOND / 10;
        }
    }
    return load->last_progress;
}

static uint64_t due_time(const struct options *options, uint64_t message)
{
    double due = (double)message * 1e9 / (options->rate * options->publishers);
    if (options->tick <= 0)
        return (uint64_t)due;
    uint64_t tick = (uint64_t)(options->tick * 1e9);
    return ((uint64_t)due + tick - 1) / tick * tick;
}

// The time stamp of a message is when it was due: a generator or a broker that falls behind shows as latency.
static uint64_t run_open_loop(struct load *load, uint64_t messages, double seconds)
{
    uint64_t planned = (uint64_t)(seconds * load->options.rate * load->options.publishers);
    uint64_t stall = (uint64_t)(load->options.stall * 1e9);
    uint64_t start = load->now;
    uint64_t next = 0;
    if (planned > messages)
        planned = messages;
    load->sending = true;
    for (;;) {
        uint64_t due = start + due_time(&load->options, next);
        while (next < planned && due <= load->now) {
            struct publisher *publisher = &load->publishers[next % load->options.publishers];
            if (publisher->connection.stage != STAGE_READY ||
                connection_pending(&publisher->connection) > OPEN_LOOP_OUTPUT_LIMIT ||
                !publish_one(load, publisher, due))
                load->counters.held_back++;
            next++;
            due = start + due_time(&load->options, next);
        }
        load->sending = next < planned && !connection_missing(load);
        for (size_t i = 0; i < load->refill_count; i++)
            load->refill[i]->wants_refill = false;
        load->refill_count = 0;
        flush_all(load);
        if (!load->sending && (settled(load) || load->now > load->last_progress + stall))
            break;
        uint64_t now = clock_nanoseconds();
        uint64_t wait = !load->sending ? LONGEST_WAIT : due > now ? due - now : 0;
        turn(load, wait < LONGEST_WAIT ? wait : LONGEST_WAIT);
    }
    return load->last_progress;
}

static uint64_t run_storm(struct load *load)
{
    uint32_t slots = load->options.concurrency;
    uint64_t deadline = load->now + (uint64_t)(load->options.seconds * 1e9);
    uint64_t stall = (uint64_t)(load->options.stall * 1e9);
    uint32_t started = 0;
    uint64_t visits = 0, last_visit = load->now;
    for (;;) {
        bool more = load->now < deadline && started < load->options.connections;
        for (uint32_t i = 0; more && i < slots && started < load->options.connections; i++) {
            if (load->others[i].stage != STAGE_CLOSED)
                continue;
            load->others[i].number = started++;
            if (!connection_open(load, &load->others[i]))
                return last_visit;
        }
        flush_all(load);
        turn(load, LONGEST_WAIT);
        flush_all(load);
        if (load->counters.visits != visits) {
            visits = load->counters.visits;
            last_visit = load->now;
        }
        if (!more && load->open == 0)
            return last_visit;
        if (load->now > last_visit + stall) {
            note_error(load, &load->errors.connect_failed, "no visit was completed for the stall time");
            return last_visit;
        }
    }
}

// The process that measures the broker reads its CPU time between this word and the line that it answers with.
static void meet(const struct load *load, const char *word)
{
    if (!load->options.handshake)
        return;
    fprintf(stderr, "%s\n", word);
    int byte;
    do
        byte = getchar();
    while (byte != '\n' && byte != EOF);
    if (byte == EOF)
        exit(3);
}

void end_phase(struct load *load, const char *name, uint64_t start, uint64_t units, uint64_t lost)
{
    uint64_t now = clock_nanoseconds();
    load->phases[load->phase_count++] = (struct phase){name, (double)(now - start) / 1e9, units, lost};
    char word[64];
    snprintf(word, sizeof word, "phase %s", name);
    meet(load, word);
}

// ---- set-up and report ---------------------------------------------------------------------------------------------

static void choose_window(struct load *load)
{
    const struct options *options = &load->options;
    load->deliveries_per_message = options->pairs || options->shared ? 1 : options->subscribers;
    if (options->scenario == SCENARIO_BACKLOG)
        load->deliveries_per_message = 0;  // until they come back
    if (options->publishers == 0)
        return;
    size_t size = load->publishers[0].template.length;
    size_t sharing = options->pairs ? 1 : options->publishers;
    size_t window = WINDOW_BYTES_PER_SUBSCRIBER / size / sharing;
    size_t in_all = WINDOW_BYTES_IN_ALL / size / options->publishers / (load->deliveries_per_message ? load->deliveries_per_message : 1);
    window = window < in_all ? window : in_all;
    window = window < WINDOW_MESSAGES ? window : WINDOW_MESSAGES;
    load->window = options->window ? options->window : window ? (uint32_t)window : 1;
}

static void prepare(struct load *load)
{
    const struct options *options = &load->options;
    uint32_t holders = options->scenario == SCENARIO_SUBSCRIPTIONS
                           ? 0
                           : (options->filters + FILTERS_PER_HOLDER - 1) / FILTERS_PER_HOLDER;
    uint32_t others = options->scenario == SCENARIO_IDLE    ? options->connections
                      : options->scenario == SCENARIO_STORM ? options->concurrency
                                                            : holders + options->slow;
    load->others_count = others;
    load->topic_step = options->scenario == SCENARIO_SUBSCRIPTIONS ? DISTANT_STEP : 1;
    load->publishers = allocate(options->publishers, sizeof *load->publishers);
    load->subscribers = allocate(options->subscribers, sizeof *load->subscribers);
    load->others = allocate(others, sizeof *load->others);
    load->dirty = allocate(options->publishers + options->subscribers + others, sizeof *load->dirty);
    load->refill = allocate(options->publishers, sizeof *load->refill);
    for (uint32_t i = 0; i < options->publishers; i++) {
        struct publisher *publisher = &load->publishers[i];
        publisher->connection = (struct connection){.role = ROLE_PUBLISHER, .number = i, .publisher = publisher};
        publisher->in_flight_limit = publisher->free_count = options->in_flight;
        char topic[64];
        topic_name(options, topic, sizeof topic, i);
        publisher->qos = options->mixed_qos ? (int)(i % 3) : options->qos;
        packet_publish_template(&publisher->template, options, topic, i, publisher->qos);
        if (options->shared)
            publisher->shared_seen = allocate(SHARED_SEEN_SIZE, 1);
        if (publisher->qos == 0)
            continue;
        publisher->slots = allocate(options->in_flight + 1, sizeof *publisher->slots);
        publisher->free_slots = allocate(options->in_flight, sizeof *publisher->free_slots);
        for (uint32_t j = 0; j < options->in_flight; j++)
            publisher->free_slots[j] = (uint16_t)(j + 1);
    }
    for (uint32_t i = 0; i < options->subscribers; i++) {
        struct subscriber *subscriber = &load->subscribers[i];
        subscriber->connection = (struct connection){.role = ROLE_SUBSCRIBER, .number = i, .subscriber = subscriber};
        subscriber->qos = options->mixed_qos ? (int)(i % 3) : options->qos;
        subscriber->expected = allocate(options->pairs || options->shared ? 1 : options->publishers, 4);
        if (subscriber->qos == 2)
            subscriber->unreleased = allocate(65536 / 8, 1);
    }
    for (uint32_t i = 0; i < others; i++) {
        struct connection *other = &load->others[i];
        *other = (struct connection){.number = i};
        other->role = options->scenario == SCENARIO_IDLE    ? ROLE_IDLE
                      : options->scenario == SCENARIO_STORM ? ROLE_VISITOR
                      : i < holders                         ? ROLE_HOLDER
                                                            : ROLE_SLOW;
        if (other->role == ROLE_HOLDER) {
            other->filters_first = i * FILTERS_PER_HOLDER;
            other->filters_count = options->filters - other->filters_first < FILTERS_PER_HOLDER
                                       ? options->filters - other->filters_first
                                       : FILTERS_PER_HOLDER;
        }
    }
    if (options->scenario == SCENARIO_FETCH)
        load->fetched = allocate(options->messages / 8 + 1, 1);
    choose_window(load);
}

static void prepare_process(struct load *load)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (load->options.core >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)load->options.core, &set);
        if (sched_setaffinity(0, sizeof set, &set) < 0)
            fprintf(stderr, "load: cannot run on processor %d: %s\n", load->options.core, strerror(errno));
    }
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);  // wake when a message is due, not up to 50 microseconds later
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load->epoll < 0) {
        perror("load: epoll_create1");
        exit(1);
    }
}

static void print_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar((unsigned char)*text < 0x20 ? ' ' : *text);
    }
    putchar('"');
}

static void report(const struct load *load, double seconds, double processor)
{
    const struct options *options = &load->options;
    const struct counters *counters = &load->counters;
    const struct errors *errors = &load->errors;
    const struct histogram *latency = &load->latency;
    printf("{\"scenario\": \"%s\", \"version\": %d, \"properties\": %s, \"qos\": %d, \"payload\": %zu, ",
           options->scenario_name, options->version, options->properties ? "true" : "false", options->qos,
           options->payload);
    printf("\"publishers\": %u, \"subscribers\": %u, \"window\": %u, \"in_flight\": %u, ", options->publishers,
           options->subscribers, load->window, options->qos ? options->in_flight : 0);
    printf("\"seconds\": %.6f, \"sent\": %llu, \"expected\": %llu, \"received\": %llu, \"lost\": %lld, ", seconds,
           (unsigned long long)counters->sent, (unsigned long long)counters->expected,
           (unsigned long long)counters->received, (long long)(counters->expected - counters->received));
    printf("\"gap_losses\": %llu, \"duplicates\": %llu, \"stalls\": %llu, \"held_back\": %llu, ",
           (unsigned long long)counters->gap_losses, (unsigned long long)counters->duplicates,
           (unsigned long long)counters->stalls, (unsigned long long)counters->held_back);
    printf("\"slow_bytes\": %llu, \"slow_closed\": %llu, ", (unsigned long long)counters->slow_bytes,
           (unsigned long long)counters->slow_closed);
    printf("\"phases\": [");
    for (uint32_t i = 0; i < load->phase_count; i++)
        printf("%s{\"name\": \"%s\", \"seconds\": %.6f, \"units\": %llu, \"lost\": %llu}", i ? ", " : "",
               load->phases[i].name, load->phases[i].seconds, (unsigned long long)load->phases[i].units,
               (unsigned long long)load->phases[i].lost);
    printf("], ");
    printf("\"unacknowledged\": %llu, \"unreleased\": %llu, ", (unsigned long long)load->unacknowledged,
           (unsigned long long)load->unreleased);
    printf("\"bytes_sent\": %llu, \"bytes_received\": %llu, \"reads\": %llu, \"writes\": %llu, ",
           (unsigned long long)counters->bytes_sent, (unsigned long long)counters->bytes_received,
           (unsigned long long)counters->reads, (unsigned long long)counters->writes);
    printf("\"connections\": %u, \"visits\": %llu, ", load->open, (unsigned long long)counters->visits);
    printf("\"latency_microseconds\": {\"count\": %llu, \"p50\": %.2f, \"p99\": %.2f, \"p999\": %.2f, \"max\": %.2f}, ",
           (unsigned long long)latency->total, (double)histogram_percentile(latency, 50) / 1e3,
           (double)histogram_percentile(latency, 99) / 1e3, (double)histogram_percentile(latency, 99.9) / 1e3,
           (double)latency->maximum / 1e3);
    printf("\"generator_cpu_seconds\": %.6f, ", processor);
    printf("\"errors\": {\"connect_failed\": %llu, \"refused\": %llu, \"closed_by_broker\": %llu, \"protocol\": %llu, "
           "\"reason_code\": %llu, \"wrong_message\": %llu, \"first\": ",
           (unsigned long long)errors->connect_failed, (unsigned long long)errors->refused,
           (unsigned long long)errors->closed_by_broker, (unsigned long long)errors->protocol,
           (unsigned long long)errors->reason_code, (unsigned long long)errors->wrong_message);
    print_string(errors->first);
    printf("}}\n");
}

int main(int count, char **arguments)
{
    struct load *load = allocate(1, sizeof *load);
    options_parse(&load->options, count, arguments);
    prepare_process(load);
    prepare(load);
    const struct options *options = &load->options;
    bool steady = options->scenario != SCENARIO_IDLE && options->scenario != SCENARIO_STORM;
    load->should_be_open = options->subscribers + options->publishers + (steady ? load->others_count : 0);
    bool usable = open_all(load, load->should_be_open) && (!steady || hold_filters(load));
    if (usable && options->warm_up) {
        begin_phase(load);
        if (options->scenario == SCENARIO_OPEN_LOOP)
            run_open_loop(load, options->warm_up, options->seconds);
        else
            run_closed_loop(load, options->warm_up, options->seconds);
    }
    meet(load, "ready");
    begin_phase(load);
    uint64_t start = load->now, end = load->now;
    uint64_t processor = processor_nanoseconds();
    if (usable) {
        switch (options->scenario) {
        case SCENARIO_FLOOD:
        case SCENARIO_PAIRS:
        case SCENARIO_PING_PONG:
            end = run_closed_loop(load, options->messages, options->seconds);
            break;
        case SCENARIO_OPEN_LOOP:
            end = run_open_loop(load, options->messages, options->seconds);
            break;
        case SCENARIO_IDLE:
            usable = open_all(load, options->connections);
            end = clock_nanoseconds();
            break;
        case SCENARIO_STORM:
            end = run_storm(load);
            break;
        case SCENARIO_FETCH:
            end = run_fetch(load);
            break;
        case SCENARIO_BACKLOG:
            end = run_backlog(load);
            break;
        case SCENARIO_SUBSCRIPTIONS:
            end = run_subscriptions(load);
            break;
        }
    }
    processor = processor_nanoseconds() - processor;
    meet(load, "finished");
    report(load, (double)(end - start) / 1e9, (double)processor / 1e9);
    return usable && load->errors.first[0] == 0 ? 0 : 1;
}
