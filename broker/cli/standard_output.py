"""Standard output that says when it cannot be written: a full disk, a reader that has gone."""

import errno
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputError(Exception):
    """Standard output cannot be written; the text says why. It is no OSError, which much code takes for its own."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror or error}")
        #: Whoever read it has had enough (``noctule sub ... | head``): nobody needs to be told.
        self.is_reader_gone = error.errno == errno.EPIPE


class _Checked(io.RawIOBase):
    """Passes on what is written. After the first failure the rest is thrown away: it was told, and is not told again
    when the interpreter ends."""

    def __init__(self, raw: io.FileIO) -> None:
        super().__init__()
        self._raw = raw
        self._has_failed = False

    def write(self, data: "ReadableBuffer", /) -> int | None:
        if self._has_failed:
            return memoryview(data).nbytes
        try:
            return self._raw.write(data)
        except OSError as error:
            self._has_failed = True
            raise OutputError(error) from None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()


@contextmanager
def checked_output() -> Iterator[None]:
    """While it is entered, and at its end, what cannot be written to standard output raises OutputError.

    Where standard output is no file of the system's (in tests, in notebooks) it stays as it is.
    """
    before = sys.stdout
    buffer = getattr(before, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # without buffering (python -u) it is the same
    if type(before) is not io.TextIOWrapper or not isinstance(raw, io.FileIO):
        yield
        return
    before.flush()
    checked = _Checked(raw)
    sys.stdout = io.TextIOWrapper(
        checked if buffer is raw else io.BufferedWriter(checked),
        before.encoding,
        before.errors,
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )
    try:
        yield
        sys.stdout.flush()
    except SystemExit:  # --help ends so
        sys.stdout.flush()
        raise
    finally:
        sys.stdout = before
