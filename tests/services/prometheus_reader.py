"""A strict reader of Prometheus' text format 0.0.4: anything that is not exactly as it should be fails."""

import re
from dataclasses import dataclass, field

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_HELP = re.compile(rf"# HELP ({_NAME}) (.*)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram|summary|untyped)")
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(
    rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (NaN|[+-]Inf|-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)"
)
_EACH_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


@dataclass
class Metric:
    """One metric with its samples by labels."""

    kind: str
    text: str
    samples: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        ((labels, value),) = self.samples.items()
        assert labels == ()
        return value

    def of(self, value: str) -> float:
        """The sample whose only label has this value."""
        return next(number for labels, number in self.samples.items() if [one for _, one in labels] == [value])


def read_metrics(body: bytes) -> dict[str, Metric]:
    """The metrics by name."""
    text = body.decode()
    assert text.endswith("\n")
    assert "\r" not in text
    found: dict[str, Metric] = {}
    name = help_text = ""
    for line in text[:-1].split("\n"):
        if match := _HELP.fullmatch(line):
            name, help_text = match.groups()
            assert name not in found, f"{name} comes twice"
            assert help_text
            assert not help_text.startswith(" ")
        elif match := _TYPE.fullmatch(line):
            assert match[1] == name, "TYPE stands behind its HELP"
            found[name] = Metric(match[2], help_text)
            if match[2] == "counter":
                assert name.endswith("_total"), name
        else:
            match = _SAMPLE.fullmatch(line)
            assert match is not None, f"no sample: {line!r}"
            assert match[1] == name, f"a sample of another metric: {line!r}"
            labels = tuple(_EACH_LABEL.findall(match[2] or ""))
            assert len({label for label, _ in labels}) == len(labels)
            assert labels not in found[name].samples, f"comes twice: {line!r}"
            found[name].samples[labels] = float(match[3])
    assert all(metric.samples for metric in found.values())
    return found
