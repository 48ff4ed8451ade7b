"""Where the log goes, how a line looks, what clients can put into it, and how much of it."""

import json
import logging
import logging.handlers
import os
import re
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from e2e.process import BrokerProcess
from e2e.wire import MQTT5, Wire, field, packet
from noctule.cli.log_output import open_log, reopen_log_files
from noctule.config.http import HttpSettings
from noctule.config.log import LogFormat, LogLevel, LogSettings, LogStream, SyslogFacility
from noctule.protocol.connect import Will
from noctule.services.log_file import LogFile
from noctule.services.log_format import JsonFormatter, TextFormatter, escaped_line
from noctule.services.log_limit import INTERVAL_S, LineLimit
from noctule.services.log_system import JournalOutput, SyslogOutput, priority_of
from noctule.services.log_topics import LINES_PER_SECOND_MAX, LogTopics, letter_of
from services.running import mocked, served

#: Of every kind that could end a line, drive a terminal or hide what stands there.
HOSTILE = "a\nb\rc\x1b[2Jd\x07e\x7ff\x85g\u2028h\u2029i\u202ej\u2066k\x00l"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_logger = logging.getLogger("noctule.of_a_test")


@pytest.fixture(autouse=True)
def _log_is_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("noctule", "noctule.of_a_test", "elsewhere"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def _no_others() -> None:
    """What pytest itself has there would be closed by ``open_log``."""
    logging.getLogger().handlers[:] = []


pytestmark = pytest.mark.usefixtures("_no_others")


def record(text: str, *arguments: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("noctule.x", level, "", 0, text, arguments, None)
    made.__dict__.update(extra)
    return made


# --- lines ---


def test_a_line_of_text() -> None:
    line = TextFormatter(LogSettings()).format(record("Client %s disconnected.", "c"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} INFO Client c disconnected\.", line)
    assert TextFormatter(LogSettings(timestamps=False)).format(record("x")) == "INFO x"


def test_nothing_breaks_a_line_of_text() -> None:
    line = TextFormatter(LogSettings(timestamps=False)).format(record("%s", HOSTILE))
    assert not CONTROL.search(line)
    assert "\n" not in line
    assert line.startswith(r"INFO a\nb\rc\x1b[2Jd")
    assert escaped_line("lone \udc80") == r"lone \udc80"
    assert escaped_line("Grüße, 東京 🦇") == "Grüße, 東京 🦇"


def test_a_traceback_has_lines_of_its_own_and_no_others() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        found = logging.LogRecord("n", logging.ERROR, "", 0, "Failed", (), sys.exc_info())
    text = TextFormatter(LogSettings(timestamps=False)).format(found)
    assert text.startswith("ERROR Failed\nTraceback (most recent call last):\n")
    assert not CONTROL.search(text)


def test_a_line_of_json() -> None:
    denial = record("Denied: %s", HOSTILE, client_id="c\n1", topic="t", user_name=None, rule="", exc_text=None)
    line = JsonFormatter(LogSettings()).format(denial)
    assert "\n" not in line
    assert not CONTROL.search(line)
    found = json.loads(line)
    assert found.pop("ts")
    assert found == {
        "level": "info", "logger": "noctule.x", "message": f"Denied: {HOSTILE}", "client_id": "c\n1", "topic": "t",
    }  # fmt: skip
    JsonFormatter(LogSettings()).format(record("lone \udc80")).encode()


# --- what clients can choose ---


def test_every_field_that_a_client_chooses_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    """Each kind of line that has something of a client's in it, before any formatter sees it."""
    logging.getLogger().addHandler(caplog.handler)
    caplog.set_level(logging.DEBUG)
    nasty = "x\u2028y\u202ez"  # what is allowed in MQTT's strings

    async def main() -> None:
        async with served() as broker:
            client = await broker.connect(nasty, user_name=nasty + "user", keep_alive_s=1)
            await client.publish("$SYS/" + nasty, b"1")
            await client.ping()
            refused = await broker.open()
            await refused.connect(nasty + "2", user_name=nasty, will=Will("$SYS/" + nasty, b"1"))
            again = await broker.connect(nasty + "3")
            await again.send(b"\x82\x02\x00\x01")  # a SUBSCRIBE without topics
            await again.until_end()
            await again.stream.aclose()
            over = await broker.connect(nasty, user_name=nasty + "user")  # takes the first over
            await over.stream.aclose()
            await broker.ask("/nothing" + "/%0a%1b", Host="evil\u00e9.example")
            await broker.ask("/api/v1/clients?client_id=%0a")
            await trio.sleep(5)

    mocked(main)
    messages = [one.getMessage() for one in caplog.records if one.name.startswith("noctule")]
    assert any("x\\u2028y" in message for message in messages)
    assert any("Denied" in message for message in messages)
    for message in messages:
        assert not CONTROL.search(message), repr(message)
        assert "\n" not in message


def test_strings_that_mqtt_forbids_do_not_reach_the_log_raw() -> None:
    """By bytes, past every encoder: a broken client identifier, user name and topic."""
    broker = BrokerProcess("-v").wait_until_listening()
    try:
        for client_id, user_name in ((b"a\nFAKE line", b"u\x1b[31m"), (b"\xc2\x85b\xe2\x80\xa8FAKE", b"\nFAKE")):
            with Wire(broker) as wire:
                body = field("MQTT") + bytes([MQTT5, 0x82, 0, 0, 0]) + field(client_id) + field(user_name)
                wire.send(packet(0x10, body))
                wire.send(packet(0x30, field(b"$SYS/t\nFAKE") + b"\0x"))
                wire.socket.settimeout(0.5)
                try:
                    while wire.socket.recv(1_000):
                        pass
                except OSError:
                    pass
        broker.stop()
        for line in broker.output.split("\n")[:-1]:
            assert re.match(r"\d{4}-\d\d-\d\dT", line), repr(line)
            assert not CONTROL.search(line), repr(line)
    finally:
        if broker.process.poll() is None:
            broker.kill()


# --- destinations ---


def test_files_and_streams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = (tmp_path / "a.log", tmp_path / "b.log")
    open_log(LogSettings(destinations=(LogStream.STDOUT, LogStream.STDERR, *files), timestamps=False))
    _logger.info("once")
    out, err = capsys.readouterr()
    assert out == err == files[0].read_text() == files[1].read_text() == "INFO once\n"


def test_a_file_that_cannot_be_written_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_log(LogSettings(destinations=(tmp_path / "no" / "a.log",), timestamps=False))
    _logger.info("x")
    text = capsys.readouterr().err
    assert "WARNING Cannot log to" in text
    assert text.endswith("INFO x\n")


def test_levels_by_logger_and_their_end_with_a_reload(capsys: pytest.CaptureFixture[str]) -> None:
    names = {"noctule.of_a_test": LogLevel.DEBUG, "elsewhere": LogLevel.ERROR}
    first = LogSettings(level=LogLevel.WARNING, levels=names, timestamps=False)
    open_log(first)
    _logger.debug("one")
    logging.getLogger("elsewhere").warning("two")
    logging.getLogger("noctule").info("three")
    open_log(replace(first, levels={}), first)
    _logger.debug("four")
    logging.getLogger("elsewhere").warning("five")
    assert capsys.readouterr().err == "DEBUG one\nWARNING five\n"


def test_files_are_opened_again(tmp_path: Path) -> None:
    path, old = tmp_path / "a.log", tmp_path / "a.log.1"
    open_log(LogSettings(destinations=(path,), timestamps=False))
    _logger.info("one")
    path.rename(old)
    _logger.info("two")
    reopen_log_files()
    _logger.info("three")
    assert old.read_text() == "INFO one\nINFO two\n"
    assert path.read_text() == "INFO three\n"


def test_a_file_that_cannot_be_opened_again_stays_open(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    open_log(LogSettings(destinations=(folder / "a.log",), timestamps=False))
    folder.rename(tmp_path / "gone")
    reopen_log_files()
    _logger.info("still")
    text = (tmp_path / "gone" / "a.log").read_text()
    assert "Cannot open" in text
    assert text.endswith("INFO still\n")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP], ids=lambda number: number.name)
def test_rotation_by_signal(tmp_path: Path, number: signal.Signals) -> None:
    log, config = tmp_path / "noctule.log", tmp_path / "noctule.toml"
    config.write_text(f'[logging]\ndestinations = ["stderr", "{log}"]\n[http]\nenabled = false\n')
    broker = BrokerProcess("-c", str(config)).wait_until_listening()
    try:
        log.rename(tmp_path / "noctule.log.1")
        broker.signal(number)
        sign = "open again" if number is signal.SIGUSR1 else "configuration is in effect"
        broker.printed(sign)
        broker.stop()
    finally:
        if broker.process.poll() is None:
            broker.kill()
    assert "Listening on" in (tmp_path / "noctule.log.1").read_text()
    assert sign in log.read_text()
    assert "Stopped" in log.read_text()


@pytest.fixture
def datagrams(tmp_path: Path) -> Iterator[tuple[socket.socket, Path]]:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(path))
        found.settimeout(5)
        yield found, path


def test_syslog_by_socket(datagrams: tuple[socket.socket, Path]) -> None:
    receiver, path = datagrams
    settings = LogSettings(
        destinations=(LogStream.SYSLOG,),
        timestamps=False,
        syslog_address=str(path),
        syslog_facility=SyslogFacility.LOCAL5,
    )
    open_log(settings)
    _logger.warning("of %s", "c\n1")
    assert receiver.recv(1_000) == f"<{21 * 8 + 4}>noctule[{os.getpid()}]: WARNING of c\\n1".encode()


def test_syslog_by_udp_and_after_it_was_away(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        output = SyslogOutput(f"127.0.0.1:{receiver.getsockname()[1]}", SyslogFacility.DAEMON)
        output.handle(record("x", level=logging.ERROR))
        assert receiver.recv(1_000) == f"<27>noctule[{os.getpid()}]: x".encode()
        output.close()
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        output = SyslogOutput(str(path), SyslogFacility.DAEMON)
    path.unlink()
    output.handle(record("lost"))
    assert output.lost_count == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(5)
        output.handle(record("there again"))
        assert receiver.recv(1_000).endswith(b"there again")
        # It is full: nobody waits.
        for _ in range(10_000):
            output.handle(record("x" * 1_000))
        assert output.lost_count > 1_000
    output.close()


def test_no_syslog_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = LogSettings(destinations=(LogStream.SYSLOG,), timestamps=False, syslog_address=str(tmp_path / "none"))
    open_log(settings)
    assert "WARNING Cannot log to syslog: " in capsys.readouterr().err


def fields_of(data: bytes) -> dict[str, bytes]:
    """A journal entry in the native protocol, taken apart."""
    found = {}
    while data:
        name, _, data = data.partition(b"\n")
        (size,) = struct.unpack("<Q", data[:8])
        found[name.decode()] = data[8 : 8 + size]
        assert data[8 + size : 9 + size] == b"\n"
        data = data[9 + size :]
    return found


def test_the_journal(datagrams: tuple[socket.socket, Path]) -> None:
    receiver, path = datagrams
    output = JournalOutput(path)
    output.handle(record("of %s", "c\nPRIORITY=0", level=logging.WARNING, client_id="c\nPRIORITY=0", topic="t"))
    found = fields_of(receiver.recv(10_000))
    assert found == {
        "MESSAGE": b"of c\nPRIORITY=0",
        "PRIORITY": b"4",
        "SYSLOG_IDENTIFIER": b"noctule",
        "SYSLOG_PID": str(os.getpid()).encode(),
        "LOGGER": b"noctule.x",
        "NOCTULE_CLIENT_ID": b"c\nPRIORITY=0",
        "NOCTULE_TOPIC": b"t",
    }
    output.handle(record("x" * 1_000_000))
    assert len(fields_of(receiver.recv(100_000))["MESSAGE"]) == 32_768
    output.close()
    with pytest.raises(FileNotFoundError):
        JournalOutput(path.with_name("none"))


@pytest.mark.parametrize(
    ("level", "priority", "letter"),
    [(50, 2, "E"), (40, 3, "E"), (30, 4, "W"), (25, 5, "N"), (20, 6, "I"), (10, 7, "D")],
)
def test_levels_elsewhere(level: int, priority: int, letter: str) -> None:
    assert (priority_of(level), letter_of(level)) == (priority, letter)


# --- how much ---


def at(seconds: float, text: str = "same %s", level: int = logging.WARNING) -> logging.LogRecord:
    found = record(text, seconds, level=level)
    found.created = seconds
    return found


def test_lines_of_one_kind_are_limited() -> None:
    limit = LineLimit(3)
    taken = [limit.take(at(1_000 + index / 100)) for index in range(10)]
    assert [is_logged for is_logged, _ in taken] == [True] * 3 + [False] * 7
    assert limit.take(at(1_001, "other"))[0]
    assert limit.take(at(1_001, level=logging.ERROR))[0]
    is_logged, summaries = limit.take(at(1_000 + INTERVAL_S))
    assert is_logged
    assert [one.getMessage() for one in summaries] == ["7 more lines like this were not logged: same %s"]
    # The clock was set back: an interval must not last until then.
    assert limit.take(at(5))[0]


def test_kinds_without_end_are_counted_together() -> None:
    limit = LineLimit(2)
    assert sum(limit.take(at(1_000, f"kind {index}"))[0] for index in range(5_000)) == 1_002
    summaries = limit.take(at(1_100))[1]
    assert [one.getMessage() for one in summaries] == ["3998 more lines like this were not logged of many kinds"]


def test_debug_is_not_limited_and_neither_is_anything_with_0() -> None:
    assert all(LineLimit(1).take(at(1, level=logging.DEBUG))[0] for _ in range(10))
    limit = LineLimit(0)
    assert all(limit.take(at(1))[0] for _ in range(1_000))


def test_a_flood_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    open_log(LogSettings(destinations=(path,), timestamps=False, max_lines_per_source=5))
    for number in range(1_000):
        _logger.warning("the same from %d", number)
    assert len(path.read_text().splitlines()) == 5


# --- as messages ---

TOPICS = LogSettings(destinations=(LogStream.TOPIC,), timestamps=False)


def test_the_log_as_messages() -> None:
    async def main() -> None:
        logging.getLogger("noctule").setLevel(logging.DEBUG)
        async with served(log=TOPICS, sys_interval_s=0) as broker:
            client = await broker.connect("c")
            await client.subscribe("$SYS/broker/log/#")
            await trio.sleep(0.3)
            _logger.error("an %s", "error\n")
            await broker.connect("another")
            await trio.to_thread.run_sync(_logger.warning, "from a thread")
            found = []
            while ("$SYS/broker/log/W", "WARNING from a thread", False) not in found:
                message = await client.receive_publish()
                found.append((message.topic.decode(), message.payload.decode(), message.retain))
            assert ("$SYS/broker/log/E", r"ERROR an error\n", False) in found
            assert any(topic == "$SYS/broker/log/D" for topic, _, _ in found)
        assert not [one for one in logging.getLogger().handlers if isinstance(one, LogTopics)]

    mocked_with_threads(main)


def mocked_with_threads(main: object) -> None:
    """Real time: a thread's answer is not waited for by the mock clock."""
    trio.run(main)  # type: ignore[arg-type]


def test_it_does_not_bring_forth_itself_and_its_rate_is_limited() -> None:
    async def main() -> None:
        topics = LogTopics(TOPICS)
        _logger.addHandler(topics)
        _logger.propagate = False
        published: list[float] = []

        def publish(topic: str, text: str) -> None:
            published.append(trio.current_time())
            _logger.error("published %s to %s", text, topic)

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(topics.run, publish)
                await trio.sleep(1)
                started = trio.current_time()
                for number in range(5_000):
                    _logger.error("line %d", number)
                await trio.sleep(60)
                nursery.cancel_scope.cancel()
        finally:
            _logger.removeHandler(topics)
            _logger.propagate = True
        assert len(published) == 1_000
        assert topics.lost_count == 4_000
        assert sum(when < started + 0.5 for when in published) == LINES_PER_SECOND_MAX
        assert max(published) - started == pytest.approx(9, abs=0.5)

    mocked(main)


def test_many_small_bursts_are_limited_as_one_large_one() -> None:
    async def main() -> None:
        topics = LogTopics(TOPICS)
        published: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(topics.run, lambda topic, text: published.append(topic + text))
            for number in range(1_000):
                topics.handle(record("line %d", number))
                if number % 50 == 49:
                    await trio.sleep(0.1)
            assert len(published) <= 3 * LINES_PER_SECOND_MAX, "in two seconds, after a first burst"
            await trio.sleep(20)
            nursery.cancel_scope.cancel()
        assert len(published) == 1_000

    mocked(main)


def test_a_reload_turns_it_on_and_off() -> None:
    async def main() -> None:
        async with served(log=replace(TOPICS, destinations=()), http=HttpSettings(), sys_interval_s=0) as broker:
            client = await broker.connect("c")
            await client.subscribe("$SYS/broker/log/+")
            for destinations, count in (((LogStream.TOPIC,), 1), ((LogStream.TOPIC,), 1), ((), 0)):
                settings = broker.broker.settings
                await broker.broker.reload(replace(settings, log=replace(settings.log, destinations=destinations)))
                handlers = [one for one in logging.getLogger().handlers if isinstance(one, LogTopics)]
                assert len(handlers) == count
                await trio.sleep(1)
                _logger.error("x")
                await client.ping() if not count else await client.receive_publish()

    mocked(main)


def test_json_at_a_destination(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    open_log(LogSettings(destinations=(path,), format=LogFormat.JSON))
    _logger.info("x", extra={"client_id": "c"})
    found = json.loads(path.read_text())
    assert (found["message"], found["client_id"], found["level"]) == ("x", "c", "info")


class FullDisk:
    """A stream that takes nothing."""

    def write(self, text: str) -> None:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = LogFile(tmp_path / "a.log", encoding="utf-8")
    file, output.stream = output.stream, FullDisk()  # type: ignore[assignment]
    for _ in range(10):
        output.handle(record("x"))
    assert output.lost_count == 10
    assert capsys.readouterr().err == ""
    output.stream = file
    output.close()
