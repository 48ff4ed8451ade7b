"""How a client's command ends: its exit codes, and how trouble is told."""

import sys
from typing import Final

#: Exit codes, as Mosquitto's clients have them; a refused connection exits with the code of CONNACK.
EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_TIMED_OUT: Final = 27

#: After Ctrl-C, as a shell has it.
EXIT_INTERRUPTED: Final = 130


class UsageError(Exception):
    """An option has a value that cannot be; the user's fault, told in one line."""


def tell(line: str) -> None:
    """Say something to the user, beside the output."""
    print(line, file=sys.stderr, flush=True)
