"""The manual page noctule(1), made from the parsers: ``python -m noctule.cli.manual > noctule.1``."""

from noctule._version import __version__
from noctule.cli.command_tree import Command, CommandOption
from noctule.cli.main import whole_command


def manual(command: Command, version: str) -> str:
    """The page, in the language of man(7)."""
    lines = [
        f'.TH NOCTULE 1 "" "noctule {_text(version)}" "User Commands"',
        ".SH NAME",
        f"noctule \\- {_text(command.description.rstrip('.'))}",
        ".SH SYNOPSIS",
        ".B noctule",
        ".I COMMAND",
        ".RI [ options ]",
        ".SH DESCRIPTION",
        _text(command.description),
        "The broker is",
        '.BR "noctule run" ;',
        "the other commands talk to a broker or look after its files.",
        ".SH OPTIONS",
        *_options(command.options),
        ".SH COMMANDS",
    ]
    for path, one in command.walk():
        if len(path) == 1:
            continue
        words = " ".join([*path, *(argument.value for argument in one.arguments)])
        lines += [f".SS {_text(words)}", _text(one.description or _sentence(one.summary))]
        lines += _options((*one.arguments, *one.options))
    lines += [
        ".SH FILES",
        *_entry("/etc/noctule/noctule.toml", "the configuration of the service; it includes"),
        "/etc/noctule/conf.d/*.toml",
        *_entry("/var/lib/noctule", "the state of the service: sessions, messages, retained messages"),
        ".SH SEE ALSO",
        ".BR mosquitto.conf (5),",
        ".BR systemd.service (5)",
        "",
    ]
    return "\n".join(lines)


def _options(options: tuple[CommandOption, ...]) -> list[str]:
    lines = []
    for option in options:
        head = ", ".join(option.names)
        lines += _entry(f"{head} {option.value}".strip(), option.summary)
    return lines


def _entry(head: str, text: str) -> list[str]:
    return [".TP", f".B {_text(head)}", _text(text)]


def _sentence(summary: str) -> str:
    return summary[:1].upper() + summary[1:] + "."


def _text(text: str) -> str:
    """Text as roff takes it: a dash is one that can be copied, and no line begins with a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    print(manual(whole_command(), __version__), end="")
