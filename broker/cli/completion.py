"""``noctule completion``: what makes bash, zsh and fish complete our command lines.

The scripts are made from the parsers. They know the commands and options of the version that printed them and ask
nothing at run time: completing starts no Python.
"""

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from noctule.cli.command_tree import Command, CommandOption, ValueKind

_SHELLS: Final = ("bash", "zsh", "fish")

#: What the scripts call a level of commands: the words that lead there.
_SEPARATOR: Final = "/"


def add_parser(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", whole_command: Callable[[], Command]
) -> None:
    """Describe the sub-command. ``whole_command`` tells the tree that it is to complete, when all of it is there."""
    parser = subparsers.add_parser(
        "completion",
        help="print what makes a shell complete noctule",
        description="Print a script that makes a shell complete noctule's commands and options. "
        "bash: noctule completion bash > ~/.local/share/bash-completion/completions/noctule; "
        "zsh: noctule completion zsh > DIRECTORY/_noctule, for a DIRECTORY of $fpath; "
        "fish: noctule completion fish > ~/.config/fish/completions/noctule.fish",
    )
    parser.add_argument("shell", choices=_SHELLS, help="the shell to complete in")
    parser.set_defaults(run=partial(_run, whole_command))


def _run(whole_command: Callable[[], Command], arguments: argparse.Namespace) -> int:
    print(script(whole_command(), arguments.shell), end="")
    return 0


def script(command: Command, shell: str) -> str:
    """The script for one of the shells (bash, zsh, fish)."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](command)


def _bash(command: Command) -> str:
    levels, offers, values = [], [], []
    for path, one in command.walk():
        level = _SEPARATOR.join(path)
        levels += [
            f"        {level}{_SEPARATOR}{below.name}) level=$level{_SEPARATOR}$word ;;" for below in one.commands
        ]
        words = [below.name for below in one.commands]
        words += [choice for argument in one.arguments for choice in argument.choices]
        words += [name for option in one.options for name in option.names]
        takes_files = any(argument.kind is not ValueKind.TEXT for argument in one.arguments)
        offers.append(f"        {level}) words={_quoted(' '.join(words))}; files={'yes' if takes_files else ''} ;;")
        for option in one.options:
            if option.value:
                patterns = "|".join(f"{level}:{name}" for name in option.names)
                values.append(f"        {patterns}) {_bash_value(option)} ;;")
    return _BASH.format(levels=_lines(levels), offers=_lines(offers), values=_lines(values))


def _bash_value(option: CommandOption) -> str:
    if option.choices:
        return f'COMPREPLY=($(compgen -W {_quoted(" ".join(option.choices))} -- "$current")); return'
    if option.kind is ValueKind.DIRECTORY:
        return 'compopt -o filenames; COMPREPLY=($(compgen -d -- "$current")); return'
    if option.kind is ValueKind.FILE:
        return 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$current")); return'
    return "return"


_BASH: Final = """\
# bash completion for noctule; made by `noctule completion bash`.
_noctule() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local level=noctule words= files= index word
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${{COMP_WORDS[index]}}
        case $level{separator}$word in
{levels}
        esac
    done
    case $level:$previous in
{values}
    esac
    case $level in
{offers}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [[ -n $files && $current != -* ]]; then
        compopt -o filenames
        COMPREPLY+=($(compgen -f -- "$current"))
    fi
}}
complete -F _noctule noctule
""".replace("{separator}", _SEPARATOR)


def _zsh(command: Command) -> str:
    functions = []
    for path, one in command.walk():
        name = "_".join(("", *path)).replace("-", "_")
        lines = [f"{name}() {{", "    local -a commands", "    local context state state_descr line"]
        lines.append("    typeset -A opt_args")
        specifications = [_zsh_option(option) for option in one.options]
        if one.commands:
            specifications += ["'1: :->command'", "'*:: :->rest'"]
        else:
            specifications += [
                f"'{index}:{_zsh_text(argument.value.lower())}:{_zsh_action(argument)}'"
                for index, argument in enumerate(one.arguments, 1)
            ]
        lines.append("    _arguments -C " + " \\\n        ".join(specifications))
        if one.commands:
            described = " ".join(_quoted(f"{below.name}:{below.summary}") for below in one.commands)
            lines += [
                "    case $state in",
                f"        command) commands=({described}); _describe command commands ;;",
                "        rest)",
                "            case $line[1] in",
                *(f"                {below.name}) {name}_{below.name.replace('-', '_')} ;;" for below in one.commands),
                "            esac ;;",
                "    esac",
            ]
        functions.append("\n".join([*lines, "}"]))
    return "\n".join(
        [
            "#compdef noctule",
            "# zsh completion for noctule; made by `noctule completion zsh`.",
            *functions,
            # As a file of $fpath it is run to complete; read with `source` it registers itself.
            'if [ "$funcstack[1]" = "_noctule" ]; then _noctule "$@"; else compdef _noctule noctule; fi',
            "",
        ]
    )


def _zsh_option(option: CommandOption) -> str:
    value = f":{_zsh_text(option.value.lower())}:{_zsh_action(option)}" if option.value else ""
    text = f"[{_zsh_text(option.summary)}]{value}"
    if len(option.names) == 1:
        return f"'*{option.names[0]}{text}'"
    return f"'*'{{{','.join(option.names)}}}'{text}'"


def _zsh_action(option: CommandOption) -> str:
    if option.choices:
        return f"({' '.join(option.choices)})"
    return {ValueKind.FILE: "_files", ValueKind.DIRECTORY: "_files -/", ValueKind.TEXT: " "}[option.kind]


def _zsh_text(text: str) -> str:
    """Text within a specification of _arguments, itself within single quotes."""
    for special in ("\\", "[", "]", ":"):
        text = text.replace(special, "\\" + special)
    return text.replace("'", "'\\''")


def _fish(command: Command) -> str:
    levels, lines = [], []
    for path, one in command.walk():
        level = _SEPARATOR.join(path)
        for below in one.commands:
            there = f"{level}{_SEPARATOR}{below.name}"
            levels += [f"            case {there}", f"                set level {there}"]
        start = f"complete -c noctule -n '__noctule_at {level}'"
        lines += [f"{start} -a {below.name} -d {_fish_text(below.summary)}" for below in one.commands]
        for argument in one.arguments:
            if argument.choices:
                lines.append(f"{start} -a {_fish_text(' '.join(argument.choices))}")
            elif argument.kind is not ValueKind.TEXT:
                lines.append(f"{start} -F")
        lines += [_fish_option(option, start) for option in one.options]
    return _FISH.format(levels=_lines(levels), lines=_lines(lines))


#: A command below two others has the name that each gives it, so what was seen before is not enough: `noctule check`
#: and `noctule store check` are two.
_FISH: Final = """\
# fish completion for noctule; made by `noctule completion fish`.
function __noctule_at -d 'Whether the words so far lead to this level of commands'
    set -l level noctule
    for word in (commandline -opc)[2..-1]
        switch $level{separator}$word
{levels}
        end
    end
    test $level = $argv[1]
end
complete -c noctule -f
{lines}
""".replace("{separator}", _SEPARATOR)


def _fish_option(option: CommandOption, start: str) -> str:
    parts = [start]
    for name in option.names:
        if name.startswith("--"):
            parts.append(f"-l {name[2:]}")
        else:
            parts.append(f"-s {name[1:]}" if len(name) == 2 else f"-o {name[1:]}")
    if option.choices:
        parts.append(f"-x -a {_fish_text(' '.join(option.choices))}")
    elif option.kind is ValueKind.DIRECTORY:
        parts.append("-x -a '(__fish_complete_directories)'")
    elif option.value:
        parts.append("-r -F" if option.kind is ValueKind.FILE else "-x")
    parts.append(f"-d {_fish_text(option.summary)}")
    return " ".join(parts)


def _fish_text(text: str) -> str:
    """Text within single quotes of fish, which knows two escapes there."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _quoted(text: str) -> str:
    """Text within single quotes of bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)
