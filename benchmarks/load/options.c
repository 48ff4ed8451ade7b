// Reads the command line of the load generator and refuses what it must not do, such as leaving this machine.
#include "load.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "usage: load --port PORT [options]\n"
    "\n"
    "  --scenario NAME     flood, pairs, ping-pong, open-loop, idle, storm, fetch, backlog or subscriptions (flood)\n"
    "  --host ADDRESS      an IPv4 address inside 127.0.0.0/8 (127.0.0.1)\n"
    "  --publishers N      (1)\n"
    "  --subscribers N     (1; pairs always has one for each publisher; flood at QoS 1 and 2: 0, acknowledgements alone)\n"
    "  --connections N     idle: connections to open; storm: visits at most (1000)\n"
    "  --concurrency N     connections in their handshake at one time (50)\n"
    "  --qos 0|1|2         (0)\n"
    "  --version 4|5       MQTT 3.1.1 or 5.0 (4)\n"
    "  --properties        version 5: properties on every PUBLISH\n"
    "  --own-topics        one topic for each publisher and a wildcard subscription\n"
    "  --topics N          each publisher goes through N topics, and the subscription has a wildcard\n"
    "  --pairs             open-loop: subscriber n listens to publisher n alone\n"
    "  --shared            the subscribers share one subscription\n"
    "  --overlap           the subscribers have different filters that all match (with --topics)\n"
    "  --filters N         so many filters of other clients that match nothing; subscriptions: how many in all\n"
    "  --mixed-qos         publishers and subscribers have QoS 0, 1 and 2 in turn\n"
    "  --slow N            further subscribers that read slowly; what they miss is not counted\n"
    "  --slow-rate BYTES   what each of them reads in a second (4096)\n"
    "  --durable           sessions of subscribers outlive their connections\n"
    "  --retain            every message is retained\n"
    "  --users N           user names and passwords of so many users: user0 with 'password 0' and so on\n"
    "  --payload BYTES     (64, at least 16)\n"
    "  --messages N        publish at most this many (1000000)\n"
    "  --seconds S         publish at most this long (3)\n"
    "  --warm-up N         messages before the measured phase (0)\n"
    "  --rate R            open-loop: messages per second of one publisher (10)\n"
    "  --tick S            open-loop: send what has fallen due at these intervals only (0: each when it is due)\n"
    "  --in-flight N       QoS 1 and 2: unacknowledged messages of one publisher (20)\n"
    "  --window N          undelivered messages of one publisher (chosen by size)\n"
    "  --stall S           count as lost what does not come for this long (1)\n"
    "  --core N            run on this processor only\n"
    "  --spin              poll without sleeping\n"
    "  --handshake         write 'ready' and 'finished' to stderr around the measured phase, wait for a line each\n";

static void refuse(const char *reason)
{
    fprintf(stderr, "load: %s\n", reason);
    exit(2);
}

static uint64_t number(const char *text, uint64_t low, uint64_t high, const char *name)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value < low || value > high) {
        fprintf(stderr, "load: --%s must be between %llu and %llu, not '%s'\n", name, (unsigned long long)low,
                (unsigned long long)high, text);
        exit(2);
    }
    return value;
}

static double decimal(const char *text, double low, double high, const char *name)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= low && value <= high)) {
        fprintf(stderr, "load: --%s must be between %g and %g, not '%s'\n", name, low, high, text);
        exit(2);
    }
    return value;
}

static void set_scenario(struct options *options, const char *name)
{
    static const char *const names[] = {"flood", "pairs",   "ping-pong",    "open-loop", "idle",
                                        "storm", "fetch", "backlog", "subscriptions"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            options->scenario = (enum scenario)i;
            options->scenario_name = names[i];
            return;
        }
    }
    refuse("unknown scenario");
}

static void set_host(struct options *options, const char *text)
{
    struct in_addr address;
    if (inet_pton(AF_INET, text, &address) != 1 || ntohl(address.s_addr) >> 24 != 127)
        refuse("only a loopback address (127.0.0.0/8) is allowed as --host");
    options->address = address.s_addr;
}

static void check(struct options *options)
{
    if (options->port == 0)
        refuse("--port is missing");
    if (options->properties && options->version != 5)
        refuse("--properties needs --version 5");
    options->pairs = options->pairs || options->scenario == SCENARIO_PAIRS;
    if (options->pairs)
        options->subscribers = options->publishers;
    if (options->scenario == SCENARIO_PING_PONG) {
        options->publishers = options->subscribers = 1;
        options->window = 1;
    }
    if (options->scenario == SCENARIO_IDLE || options->scenario == SCENARIO_STORM) {
        options->publishers = options->subscribers = 0;
        options->warm_up = 0;
    }
    if (options->scenario == SCENARIO_FETCH) {
        options->publishers = 0;
        options->subscribers = 1;
        options->warm_up = 0;
    }
    if (options->scenario == SCENARIO_BACKLOG) {
        if (options->qos == 0)
            refuse("a backlog needs QoS 1 or 2");
        options->durable = true;
        options->warm_up = 0;
    }
    if (options->scenario == SCENARIO_SUBSCRIPTIONS) {
        if (options->filters < options->subscribers || options->qos)
            refuse("subscriptions: at least one of --filters for each subscriber, QoS 0");
        options->publishers = 1;
        options->topics = options->filters;
        options->shared = true;  // each message reaches one of the subscribers
        options->warm_up = 0;
    }
    if (options->mixed_qos && options->qos)
        refuse("--mixed-qos and --qos exclude each other");
    if (options->overlap && !options->topics)
        refuse("--overlap needs --topics");
    if (options->pairs && (options->shared || options->own_topics || options->topics || options->slow || options->overlap))
        refuse("pairs have one topic for each and no other subscriptions");
    if (options->scenario == SCENARIO_OPEN_LOOP && options->rate * options->publishers > 1e7)
        refuse("more than 10 million messages per second");
    if (options->subscribers == 0 && options->publishers && !(options->scenario == SCENARIO_FLOOD && options->qos))
        refuse("without subscribers there is only flood at QoS 1 and 2");
    if (options->subscribers == 0 && (options->scenario == SCENARIO_BACKLOG || options->scenario == SCENARIO_SUBSCRIPTIONS))
        refuse("this scenario needs subscribers");
    if (!options->pairs && !options->shared && (uint64_t)options->publishers * options->subscribers > 10000000)
        refuse("more than 10 million combinations of publisher and subscriber");
}

void options_parse(struct options *options, int count, char **arguments)
{
    enum { FIRST = 256, HOST, PORT, SCENARIO, PUBLISHERS, SUBSCRIBERS, CONNECTIONS, CONCURRENCY, QOS, VERSION,
           PROPERTIES, OWN_TOPICS, TOPICS, PAIRS, SHARED, OVERLAP, FILTERS, MIXED_QOS, SLOW, SLOW_RATE, DURABLE, RETAIN,
           USERS, PAYLOAD, MESSAGES, SECONDS, WARM_UP, RATE, TICK, IN_FLIGHT, WINDOW, STALL, CORE, SPIN,
           HANDSHAKE, SHOW_HELP };
    static const struct option known[] = {
        {"host", 1, NULL, HOST}, {"port", 1, NULL, PORT}, {"scenario", 1, NULL, SCENARIO},
        {"publishers", 1, NULL, PUBLISHERS}, {"subscribers", 1, NULL, SUBSCRIBERS},
        {"connections", 1, NULL, CONNECTIONS}, {"concurrency", 1, NULL, CONCURRENCY}, {"qos", 1, NULL, QOS},
        {"version", 1, NULL, VERSION}, {"properties", 0, NULL, PROPERTIES}, {"own-topics", 0, NULL, OWN_TOPICS},
        {"topics", 1, NULL, TOPICS}, {"pairs", 0, NULL, PAIRS}, {"shared", 0, NULL, SHARED},
        {"overlap", 0, NULL, OVERLAP}, {"filters", 1, NULL, FILTERS}, {"mixed-qos", 0, NULL, MIXED_QOS},
        {"slow", 1, NULL, SLOW}, {"slow-rate", 1, NULL, SLOW_RATE}, {"durable", 0, NULL, DURABLE},
        {"retain", 0, NULL, RETAIN}, {"users", 1, NULL, USERS},
        {"payload", 1, NULL, PAYLOAD}, {"messages", 1, NULL, MESSAGES}, {"seconds", 1, NULL, SECONDS},
        {"warm-up", 1, NULL, WARM_UP}, {"rate", 1, NULL, RATE}, {"tick", 1, NULL, TICK},
        {"in-flight", 1, NULL, IN_FLIGHT},
        {"window", 1, NULL, WINDOW}, {"stall", 1, NULL, STALL}, {"core", 1, NULL, CORE}, {"spin", 0, NULL, SPIN},
        {"handshake", 0, NULL, HANDSHAKE}, {"help", 0, NULL, SHOW_HELP}, {NULL, 0, NULL, 0}};
    *options = (struct options){.publishers = 1, .subscribers = 1, .connections = 1000, .concurrency = 50,
                                .version = 4, .payload = 64, .messages = 1000000, .seconds = 3, .rate = 10,
                                .stall = 1, .in_flight = 20, .core = -1, .slow_rate = 4096};
    set_scenario(options, "flood");
    set_host(options, "127.0.0.1");
    int choice, index = 0;
    while ((choice = getopt_long(count, arguments, "", known, &index)) != -1) {
        const char *name = choice >= FIRST ? known[index].name : "";
        switch (choice) {
        case HOST: set_host(options, optarg); break;
        case PORT: options->port = (uint16_t)number(optarg, 1, 65535, name); break;
        case SCENARIO: set_scenario(options, optarg); break;
        case PUBLISHERS: options->publishers = (uint32_t)number(optarg, 1, 100000, name); break;
        case SUBSCRIBERS: options->subscribers = (uint32_t)number(optarg, 0, 100000, name); break;
        case CONNECTIONS: options->connections = (uint32_t)number(optarg, 1, 10000000, name); break;
        case CONCURRENCY: options->concurrency = (uint32_t)number(optarg, 1, 10000, name); break;
        case QOS: options->qos = (int)number(optarg, 0, 2, name); break;
        case VERSION: options->version = (int)number(optarg, 4, 5, name); break;
        case PROPERTIES: options->properties = true; break;
        case OWN_TOPICS: options->own_topics = true; break;
        case TOPICS: options->topics = (uint32_t)number(optarg, 1, 99999999, name); break;
        case PAIRS: options->pairs = true; break;
        case SHARED: options->shared = true; break;
        case OVERLAP: options->overlap = true; break;
        case FILTERS: options->filters = (uint32_t)number(optarg, 0, 99999999, name); break;
        case MIXED_QOS: options->mixed_qos = true; break;
        case SLOW: options->slow = (uint32_t)number(optarg, 0, 10000, name); break;
        case SLOW_RATE: options->slow_rate = decimal(optarg, 0, 1e9, name); break;
        case DURABLE: options->durable = true; break;
        case RETAIN: options->retain = true; break;
        case USERS: options->users = (uint32_t)number(optarg, 1, 1000000, name); break;
        case PAYLOAD: options->payload = number(optarg, STAMP_SIZE, 16 * 1024 * 1024, name); break;
        case MESSAGES: options->messages = number(optarg, 1, 1000000000, name); break;
        case SECONDS: options->seconds = decimal(optarg, 0.01, 3600, name); break;
        case WARM_UP: options->warm_up = number(optarg, 0, 1000000000, name); break;
        case RATE: options->rate = decimal(optarg, 0.001, 1e6, name); break;
        case TICK: options->tick = decimal(optarg, 0, 10, name); break;
        case IN_FLIGHT: options->in_flight = (uint32_t)number(optarg, 1, 65535, name); break;
        case WINDOW: options->window = (uint32_t)number(optarg, 1, 1000000, name); break;
        case STALL: options->stall = decimal(optarg, 0.01, 600, name); break;
        case CORE: options->core = (int)number(optarg, 0, 1023, name); break;
        case SPIN: options->spin = true; break;
        case HANDSHAKE: options->handshake = true; break;
        case SHOW_HELP: fputs(HELP, stdout); exit(0);
        default: fputs(HELP, stderr); exit(2);
        }
    }
    if (optind != count)
        refuse("arguments that are not options");
    check(options);
}
