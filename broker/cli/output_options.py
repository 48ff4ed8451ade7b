"""The options of ``noctule sub`` and ``rr`` for what is printed, and for how retained messages come."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from noctule.cli.message_format import MessageFormat
from noctule.cli.message_output import OutputOptions
from noctule.cli.option_reading import Option, c_integer, flag, valued
from noctule.cli.outcome import UsageError
from noctule.cli.payloads import PayloadOptions
from noctule.protocol import SubscriptionRequest

_RETAIN_HANDLING: Final = {"always": 0, "new": 1, "never": 2}


@dataclass(slots=True)
class PrintingOptions(PayloadOptions):
    """The options of a command that prints messages."""

    output: OutputOptions = field(default_factory=OutputOptions)
    timeout_s: int | None = None

    #: ``-R``: retained messages are neither asked for nor printed.
    output_retained_hidden: bool = False

    retain_as_published: bool = False
    retain_handling: int = 0


def subscription_options(options: PrintingOptions, topic: str) -> SubscriptionRequest:
    """What is asked for with one filter; what version 3 has no room for is left out there."""
    return SubscriptionRequest(
        topic,
        options.qos,
        retain_as_published=options.retain_as_published,
        retain_handling=options.retain_handling,
    )


def _set_format(options: PrintingOptions, text: str) -> None:
    MessageFormat(text)  # tells what is wrong with it now, whatever else there is
    options.output.format = text


def _set_timeout(options: PrintingOptions, text: str) -> None:
    options.timeout_s = c_integer(text)
    if options.timeout_s < 1:
        raise UsageError(f'Invalid timeout "{text}".')


def _set_retain_handling(options: PrintingOptions, text: str) -> None:
    if text not in _RETAIN_HANDLING:
        raise UsageError(f"Unknown value '{text}' for --retain-handling.")
    options.retain_handling = _RETAIN_HANDLING[text]


def _hide_retained(options: PrintingOptions) -> None:
    options.output_retained_hidden = True
    options.retain_handling = _RETAIN_HANDLING["never"]


def _verbose(options: PrintingOptions) -> None:
    options.output.is_verbose = True


def _no_end_of_line(options: PrintingOptions) -> None:
    options.output.end_of_line = False


def _pretty(options: PrintingOptions) -> None:
    options.output.pretty = True


def _retain_as_published(options: PrintingOptions) -> None:
    options.retain_as_published = True


OUTPUT_OPTIONS: Final[Sequence[Option[PrintingOptions]]] = (
    flag("-v --verbose", "print the topic before the payload", _verbose),
    valued("-F", "format", "print in this format, for example '%I %t %p'", _set_format),
    flag("-N", "print no end of line", _no_end_of_line),
    flag("--pretty", "with -F %j or %J, indent the JSON", _pretty),
    flag("-R", "neither ask for nor print retained messages", _hide_retained),
    flag("--retain-as-published", "have the retain flag as the publisher set it (MQTT 5)", _retain_as_published),
    valued(
        "--retain-handling",
        "when",
        "retained messages come always, if the subscription is new, or never (MQTT 5)",
        _set_retain_handling,
        "option",
    ),
    valued("-W", "seconds", "exit after this long, with code 27", _set_timeout, "timeout"),
)
