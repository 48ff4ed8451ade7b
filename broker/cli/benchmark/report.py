"""The figures of a run as text, and beside those of another run."""

from typing import Any, Final

#: What is compared: the path in the JSON, the title, the unit, and whether more is better.
_FIGURES: Final = (
    (("sent_per_s",), "sent", "/s", True),
    (("received_per_s",), "received", "/s", True),
    (("lost",), "lost", "", False),
    (("errors",), "errors", "", False),
    (("latency_ms", "mean"), "latency, mean", "ms", False),
    (("latency_ms", "p50"), "latency, p50", "ms", False),
    (("latency_ms", "p90"), "latency, p90", "ms", False),
    (("latency_ms", "p99"), "latency, p99", "ms", False),
    (("latency_ms", "p99.9"), "latency, p99.9", "ms", False),
    (("latency_ms", "maximum"), "latency, longest", "ms", False),
)

#: Differences below this are noise on any machine that does something else besides.
_NOISE: Final = 0.05

#: Above this share of a core the generator may be what limits the figures.
_GENERATOR_LIMIT: Final = 0.8


def figure(result: dict[str, Any], path: tuple[str, ...]) -> float | None:
    """One figure of a result; None where it has none."""
    value: Any = result
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, int | float) else None


def report_lines(result: dict[str, Any]) -> list[str]:
    """The figures of one run."""
    load, got = result["load"], result["result"]
    latency = got["latency_ms"]
    lines = [
        f"scenario    {load['scenario']}: {load['summary']}",
        f"load        {_load_text(load)}",
        f"time        {got['seconds']:.2f} s, {got['connected']:,} connections opened",
    ]
    if got["sent"] or got["received"]:
        lines.append(f"sent        {got['sent']:,} ({got['sent_per_s']:,.0f}/s)")
        lines.append(f"received    {got['received']:,} ({got['received_per_s']:,.0f}/s)")
        lines.append(f"lost        {got['lost']:,}; repeated or out of order {got['repeated']:,}")
    if latency["count"]:
        what = "connecting" if load["scenario"] in ("idle", "connect-storm") else "latency"
        shown = "  ".join(f"{name} {latency[name]:.3f}" for name in ("p50", "p90", "p99", "p99.9", "maximum"))
        lines.append(f"{what:<12}{shown} ms ({latency['count']:,} measured)")
        if load["scenario"] == "connect-storm":
            lines.append(f"visits      {latency['count'] / got['seconds']:,.0f}/s")
    lines.append(f"generator   busy {got['generator_busy']:.0%} of one core")
    if got["generator_busy"] > _GENERATOR_LIMIT:
        lines.append("            Near 100 % it is this program that limits the figures, not the broker: use --rate.")
    if got["errors"]:
        lines.append(f"errors      {got['errors']:,}, the first: {got['first_error']}")
    return lines


def _load_text(load: dict[str, Any]) -> str:
    parts = []
    if load["connections"]:
        parts.append(f"{load['connections']:,} connections")
    else:
        parts.append(f"{load['publishers']:,} publishers, {load['subscribers']:,} subscribers")
        parts.append(f"QoS {load['qos']}, {load['payload_bytes']:,} bytes")
    if load["messages"]:
        parts.append(f"{load['messages']:,} messages")
    if load["rate"]:
        parts.append(f"{load['rate']:,.0f} messages/s")
    return ", ".join((*parts, f"MQTT {load['version']}"))


def compare_lines(result: dict[str, Any], other: dict[str, Any], name: str) -> list[str]:
    """The figures of this run beside those of ``other``. A mark says what is worse by more than noise."""
    lines = [f"{'':<18}{'now':>14}{name[-14:]:>16}{'change':>10}"]
    if result["load"] != other.get("load"):
        lines.insert(0, "The two runs had different loads: compare with care.")
    for path, title, unit, more_is_better in _FIGURES:
        mine, theirs = figure(result["result"], path), figure(other.get("result", {}), path)
        if mine is None or theirs is None:
            continue
        change, mark = "", ""
        if theirs:
            ratio = mine / theirs - 1
            change = f"{ratio:+.1%}"
            if abs(ratio) > _NOISE:
                mark = "  better" if (ratio > 0) == more_is_better else "  WORSE"
        elif mine:
            mark = "  better" if more_is_better else "  WORSE"
        shape = ",.3f" if unit == "ms" else ",.0f"
        lines.append(f"{f'{title} {unit}':<18}{mine:>14{shape}}{theirs:>16{shape}}{change:>10}{mark}")
    return lines
