"""Every scenario: the load, the set-up it needs of the broker, and the rows that it brings in the report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from suite.fixtures import ARGON2_USERS, USERS

#: What a row counts, and how its cost is called in the report.
UNITS: Final = {
    "message": "CPU µs / message",
    "visit": "CPU µs / visit",
    "subscription": "CPU µs / subscription",
    "connection": "CPU µs / connection",
    "resident connection": "resident KB / connection",
    "resident subscription": "resident bytes / subscription",
    "resident message": "resident bytes / message",
    "second": "seconds",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. ``phase`` is the part of the load's run that it comes from, if the run has several."""

    name: str
    title: str
    unit: str = "message"
    phase: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """A point of a curve: how a cost grows with something."""

    name: str
    x: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of work, as arguments for a load generator."""

    name: str
    group: str
    rows: tuple[Row, ...]
    arguments: tuple[str, ...]
    warm_up: int = 0
    #: Whether the latency of its messages means something: a fixed rate, or one message at a time.
    latency: bool = False
    setup: str = "plain"
    #: "load" (C), "transports" (Python, for TLS and WebSocket) or "retained" (publish, restart, fetch).
    program: str = "load"
    #: How long it publishes, as a part of what is asked for.
    share_of_seconds: float = 1.0
    #: Whether it may follow others of its group on a broker that runs already.
    shares_broker: bool = False
    #: Scenarios beside each other that have this are run in turn within each repetition, so that what one costs can be
    #: divided by what another does.
    is_in_turn: bool = False
    curve: Curve | None = None
    #: Whether the broker may use the load generator's core as well.
    on_two_cores: bool = False
    #: Whether the broker's HTTP port is asked all the while.
    asks_http: bool = False
    #: Names of the only brokers that it makes sense for; all if empty.
    brokers: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What it can be asked for by."""
        return (self.name, self.group)


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


def one(name: str, title: str, group: str, arguments: str, unit: str = "message", **more: object) -> Scenario:
    """A scenario with one row."""
    made = Scenario(name, group, (Row(name, title, unit),), words(arguments))
    return replace(made, **more)  # type: ignore[arg-type]  # the names are those of the fields


def in_turn(*scenarios: Scenario) -> tuple[Scenario, ...]:
    """The scenarios, to be compared with each other."""
    return tuple(replace(scenario, is_in_turn=True) for scenario in scenarios)


def flood(publishers: int, subscribers: int, more: str = "") -> str:
    """The arguments of a closed loop."""
    return f"--scenario flood --publishers {publishers} --subscribers {subscribers} {more}"


def paced(publishers: int, subscribers: int, rate: float, more: str = "") -> str:
    """The arguments of an open loop: messages per second of one publisher."""
    return f"--scenario open-loop --publishers {publishers} --subscribers {subscribers} --rate {rate:g} {more}"


CORE: Final = (
    one("1-1", "1 → 1, QoS 0", "core", flood(1, 1), warm_up=20_000),
    one("100-1", "100 → 1, QoS 0", "core", flood(100, 1), warm_up=20_000),
    one("200-pairs", "200 pairs, QoS 0", "core", "--scenario pairs --publishers 200", warm_up=20_000),
    one("1-100", "1 → 100, QoS 0", "core", flood(1, 100), warm_up=500),
    one("1-1000", "1 → 1,000, QoS 0", "core", flood(1, 1000), warm_up=50),
    one("1-1-qos1", "1 → 1, QoS 1, 20 in flight", "core", flood(1, 1, "--qos 1"), warm_up=5_000),
    one("1-1-qos2", "1 → 1, QoS 2, 20 in flight", "core", flood(1, 1, "--qos 2"), warm_up=5_000),
    one("1-10-65536", "1 → 10, 65,536 bytes", "core", flood(1, 10, "--payload 65536"), warm_up=50),
    one("ping-pong", "one message at a time", "core", "--scenario ping-pong", warm_up=500, latency=True),
)

RELAY: Final = (
    one("1-1-16", "1 → 1, 16 bytes", "relay", flood(1, 1, "--payload 16"), warm_up=20_000),
    one("1-1-1024", "1 → 1, 1,024 bytes", "relay", flood(1, 1, "--payload 1024"), warm_up=5_000),
    one("1-1-65536", "1 → 1, 65,536 bytes", "relay", flood(1, 1, "--payload 65536"), warm_up=500),
    *in_turn(
        one("1-1-v311", "1 → 1, version 3.1.1", "relay", flood(1, 1), warm_up=20_000),
        one("1-1-v5", "1 → 1, version 5", "relay", flood(1, 1, "--version 5"), warm_up=20_000),
        one(
            "1-1-v5-properties",
            "1 → 1, version 5 with properties",
            "relay",
            flood(1, 1, "--version 5 --properties"),
            warm_up=20_000,
        ),
    ),
)

LATENCY: Final = tuple(
    one(name, title, "latency", arguments, warm_up=2_000, latency=True)
    for name, title, arguments in (
        ("1-1-paced", "1 → 1, 5,000 msg/s", paced(1, 1, 5_000)),
        ("1-1-qos1-paced", "1 → 1, QoS 1, 2,000 msg/s", paced(1, 1, 2_000, "--qos 1 --in-flight 1000")),
        ("100-1-paced", "100 → 1, 5,000 msg/s", paced(100, 1, 50)),
        ("1-100-paced", "1 → 100, 50 msg/s", paced(1, 100, 50)),
        ("200-pairs-paced", "200 pairs, 5,000 msg/s", paced(200, 200, 25, "--pairs")),
    )
)

HTTP: Final = tuple(
    replace(
        next(scenario for scenario in LATENCY if scenario.name == name),
        name=f"{name}-http",
        rows=(Row(f"{name}-http", f"{title}, HTTP asked all the while"),),
        setup="http",
        asks_http=True,
        brokers=("noctule",),
    )
    for name, title in (("1-1-paced", "1 → 1, 5,000 msg/s"), ("200-pairs-paced", "200 pairs, 5,000 msg/s"))
)

CROWD: Final = (
    *(
        one(
            f"{publishers}-slow-{rate}" + ("-tick" if tick else ""),
            f"{publishers:,} publishers at {rate} msg/s → 1" + (", every 1 ms" if tick else ""),
            "crowd",
            paced(publishers, 1, rate, "--tick 0.001" if tick else ""),
            warm_up=publishers * rate // 2,
            latency=True,
        )
        for publishers, rate, tick in (
            (1_000, 10, False),
            (1_000, 10, True),
            (1_000, 1, False),
            (5_000, 1, False),
            (5_000, 10, False),
        )
    ),
    one("storm", "connect, subscribe, disconnect", "crowd", "--scenario storm --connections 1000000", "visit"),
    one(
        "storm-password",
        "connect with a password (PBKDF2), 100 users",
        "crowd",
        f"--scenario storm --connections 1000000 --users {USERS}",
        "visit",
        setup="password",
    ),
    one(
        "storm-hashing",
        "connect with a password, no login remembered",
        "crowd",
        f"--scenario storm --connections 1000000 --users {USERS}",
        "visit",
        setup="hashing",
    ),
    one("idle", "idle connections", "crowd", "--scenario idle --connections {connections}", "resident connection"),
)

WORK: Final = (
    one("shared", "1,000 → a group of 5", "work", flood(1_000, 5, "--shared --own-topics"), warm_up=20_000),
    *in_turn(
        one("topics-1000", "1 → 1, 1,000 topics in turn", "work", flood(1, 1, "--topics 1000"), warm_up=20_000),
        one(
            "filters-10000",
            "1 → 1, 1,000 topics, 10,000 filters of others",
            "work",
            flood(1, 1, "--topics 1000 --filters 10000"),
            warm_up=20_000,
        ),
        one(
            "access-10",
            "1 → 1, 1,000 topics, 10 access rules",
            "work",
            flood(1, 1, "--topics 1000"),
            warm_up=20_000,
            setup="access-10",
        ),
        one(
            "access-10000",
            "1 → 1, 1,000 topics, 10,000 access rules",
            "work",
            flood(1, 1, "--topics 1000"),
            warm_up=20_000,
            setup="access-10000",
        ),
        one("access-none-topic", "1 → 1, one topic, no access rules", "work", flood(1, 1), warm_up=20_000),
        one(
            "access-10000-topic",
            "1 → 1, one topic, 10,000 access rules",
            "work",
            flood(1, 1),
            warm_up=20_000,
            setup="access-10000",
        ),
    ),
    one(
        "overlap",
        "1 → 5 by wildcards, among 10,000 filters",
        "work",
        flood(1, 5, "--topics 1000 --filters 10000 --overlap"),
        warm_up=10_000,
    ),
    one(
        "mixed-qos",
        "30 → 3, QoS 0, 1 and 2 mixed, 6,000 msg/s",
        "work",
        paced(30, 3, 200, "--mixed-qos --in-flight 1000"),
        warm_up=2_000,
        latency=True,
    ),
    one("readers", "1 → 5", "work", flood(1, 5), warm_up=10_000),
    one("slow-readers", "1 → 5 beside 5 that read slowly", "work", flood(1, 5, "--slow 5"), warm_up=10_000),
    one("watcher", "1 → 1, a plugin watches", "work", flood(1, 1), warm_up=20_000, setup="watcher"),
    one(
        "durable",
        "1 → 1, QoS 1, the session is kept",
        "work",
        flood(1, 1, "--qos 1 --durable"),
        warm_up=500,
        setup="disk",
    ),
    Scenario(
        "backlog",
        "work",
        (
            Row("backlog-keep", "QoS 1 to a session that is away", "message", "keep"),
            Row("backlog-return", "the return of a session that was away", "message", "return"),
        ),
        words("--scenario backlog --publishers 20 --qos 1 --stall 10"),
        setup="disk",
    ),
)

TRANSPORTS: Final = tuple(
    one(
        f"{way}-{work}",
        f"{way}: {title}",
        "transports",
        f"--way {way} --work {work}",
        unit,
        setup=way,
        program="transports",
        latency=work == "one",
    )
    for way in ("tls", "ws", "wss")
    for work, title, unit in (
        ("many", "1 → 1, many in a write", "message"),
        ("each", "1 → 1, a record each", "message"),
        ("one", "one message at a time", "message"),
        ("connect", "connections made", "connection"),
        ("idle", "idle connections", "resident connection"),
    )
    if not (way == "ws" and work == "each")
)

SCALE: Final = (
    Scenario(
        "retained",
        "scale",
        (
            Row("retained-publish", "{messages} retained messages: published", "message", "publish"),
            Row("retained-memory", "{messages} retained messages: memory", "resident message", "memory"),
            Row("retained-restart", "{messages} retained messages: time to start with them", "second", "restart"),
            Row("retained-fetch", "{messages} retained messages: # delivered, CPU", "message", "fetch"),
            Row("retained-delivery", "{messages} retained messages: # delivered, time", "second", "delivery"),
        ),
        words(
            "--subscribers 0 --qos 1 --in-flight 500 --retain --topics {scale} --messages {scale} "
            "--seconds 600 --stall 60"
        ),
        setup="disk",
        program="retained",
    ),
    Scenario(
        "subscriptions",
        "scale",
        (
            Row("subscriptions-insert", "{messages} subscriptions: made", "subscription", "insert"),
            Row("subscriptions-memory", "{messages} subscriptions: memory", "resident subscription", "insert"),
            Row("subscriptions-match", "{messages} subscriptions: messages to them", "message", "match"),
            Row("subscriptions-remove", "{messages} subscriptions: taken back", "subscription", "remove"),
        ),
        words("--scenario subscriptions --subscribers 100 --filters {scale}"),
    ),
)

_TOPOLOGIES: Final = (
    ("1-1", "1 → 1", flood(1, 1), 2_000),
    ("100-1", "100 → 1", flood(100, 1), 2_000),
    ("1-100", "1 → 100", flood(1, 100), 50),
    ("1-1000", "1 → 1,000", flood(1, 1000), 5),
    ("200-pairs", "200 pairs", "--scenario pairs --publishers 200", 2_000),
)
_VERSIONS: Final = (
    ("v311", "3.1.1", ""),
    ("v5", "5", "--version 5"),
    ("v5p", "5 with properties", "--version 5 --properties"),
)

MATRIX: Final = tuple(
    one(
        f"{name}-{version}-qos{qos}-{payload}",
        f"{title}, {version_title}, QoS {qos}, {payload:,} bytes",
        f"matrix-{name}",
        f"{arguments} {version_arguments} --qos {qos} --payload {payload}",
        warm_up=max(2, warm_up // (20 if payload == 65536 else 1)),
        share_of_seconds=0.15,
        shares_broker=True,
    )
    for name, title, arguments, warm_up in _TOPOLOGIES
    for version, version_title, version_arguments in _VERSIONS
    for qos in (0, 1, 2)
    for payload in (16, 64, 1024, 65536)
)


def _points(curve: str, title: str, points: tuple[int, ...], arguments: str) -> tuple[Scenario, ...]:
    return tuple(
        one(
            f"grow-{curve}-{x}",
            title.replace("N", f"{x:,}"),
            "growth",
            arguments.replace("{N}", str(x)),
            warm_up=max(5, 20_000 // (x if curve == "fan-out" else 1))
            if curve != "payload"
            else max(100, 20_000_000 // max(x, 1000)),
            share_of_seconds=0.4,
            curve=Curve(curve, x),
        )
        for x in points
    )


GROWTH: Final = (
    *_points(
        "clients",
        "N publishers → 1",
        (1, 10, 100, 1_000, 5_000),
        flood(0, 1, "--own-topics").replace("--publishers 0", "--publishers {N}"),
    ),
    *_points(
        "topics",
        "1 → 1, N topics in turn",
        (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000),
        flood(1, 1, "--topics {N}"),
    ),
    *_points(
        "filters",
        "1 → 1, 1,000 topics, N filters of others",
        (1, 10, 100, 1_000, 10_000, 100_000),
        flood(1, 1, "--topics 1000 --filters {N}"),
    ),
    *_points(
        "fan-out", "1 → N", (1, 10, 100, 1_000, 5_000), flood(1, 0).replace("--subscribers 0", "--subscribers {N}")
    ),
    *_points(
        "payload",
        "1 → 1, N bytes",
        (16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576),
        flood(1, 1, "--payload {N}"),
    ),
)

#: What one more core brings to one process: the work of other threads.
CORES: Final = tuple(
    one(
        f"{name}-{cores}",
        f"{title}, {'one core' if cores == 1 else 'two cores'}",
        "cores",
        arguments,
        unit,
        setup=setup,
        on_two_cores=cores == 2,
        brokers=("noctule",),
        program=program,
    )
    for name, title, arguments, unit, setup, program in (
        ("cores-plain", "1 → 1, QoS 0", flood(1, 1), "message", "plain", "load"),
        (
            "cores-store",
            "QoS 1, the session is kept",
            flood(20, 1, "--qos 1 --durable --own-topics"),
            "message",
            "disk",
            "load",
        ),
        (
            "cores-argon2",
            "logins with argon2id",
            f"--scenario storm --connections 1000000 --concurrency 2 --users {ARGON2_USERS}",
            "visit",
            "hashing-argon2",
            "load",
        ),
        (
            "cores-tls",
            "TLS connections made",
            "--way tls --work connect --together 4",
            "connection",
            "tls",
            "transports",
        ),
    )
    for cores in (1, 2)
)

ALL: Final = (*CORE, *RELAY, *LATENCY, *HTTP, *CROWD, *WORK, *TRANSPORTS, *SCALE, *GROWTH, *CORES, *MATRIX)
SCENARIOS: Final = {scenario.name: scenario for scenario in ALL}
assert len(SCENARIOS) == len(ALL)

#: In the order of their use: what does not fit into two minutes is left out from the end.
QUICK: Final = words(
    "1-1 100-1 200-pairs 1-100 1-1000 1-1-qos1 1-1-qos2 ping-pong 1000-slow-10 1-10-65536 idle storm 1-1-v311 "
    "1-1-v5-properties topics-1000 access-10000 filters-10000 retained shared backlog subscriptions 1-1-paced "
    "overlap slow-readers mixed-qos storm-password watcher tls-one ws-many durable"
)


def choose(text: str) -> tuple[Scenario, ...]:
    """The scenarios of a list of names and groups with commas; "all" and "quick" are groups too. KeyError: unknown."""
    chosen: dict[str, Scenario] = {}
    for name in text.split(","):
        if name in ("all", "quick"):
            found = ALL if name == "all" else tuple(SCENARIOS[each] for each in QUICK)
        else:
            found = tuple(s for s in ALL if name in s.names or s.group.partition("-")[0] == name)
        if not found:
            raise KeyError(name)
        chosen.update({scenario.name: scenario for scenario in found})
    return tuple(chosen.values())


def groups() -> tuple[str, ...]:
    """The names of the groups."""
    return tuple(dict.fromkeys(scenario.group for scenario in ALL))


def filled(scenario: Scenario, connections: int, scale: int) -> Scenario:
    """The scenario with the numbers that are chosen when it runs."""
    places = {
        "connections": str(connections),
        "scale": str(scale),
        "messages": f"{scale:,}",
    }

    def fill(text: str) -> str:
        for name, value in places.items():
            text = text.replace("{" + name + "}", value)
        return text

    rows = tuple(replace(row, title=fill(row.title)) for row in scenario.rows)
    return replace(scenario, rows=rows, arguments=tuple(fill(word) for word in scenario.arguments))
