"""A file as a destination of the log."""

import logging


class LogFile(logging.FileHandler):
    """A file that somebody else may rename or remove (logrotate): ``reopen`` makes it anew."""

    #: Lines that could not be written.
    lost_count = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Count it: on a full disk a traceback for each line would be the next flood."""
        del record
        self.lost_count += 1

    def reopen(self) -> None:
        """Write to what has the path now. Where it cannot be opened, the old file is kept, and said so in it."""
        self.acquire()
        try:
            stream = self._open()
        except OSError as error:
            self.release()
            logging.getLogger("noctule").warning(
                "Cannot open %s again: %s. The log goes on in the old file.", self.baseFilename, error.strerror or error
            )
            return
        old, self.stream = self.stream, stream
        self.release()
        if old is not None:
            old.close()
