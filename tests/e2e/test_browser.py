"""The broker from a web page: Chromium, MQTT.js as pages load it, and what came is read from the page."""

import html
import http.server
import re
import shutil
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from e2e import test_mqttjs
from e2e.transports import CONFIG, DEADLINE, start

PAGE = Path(__file__).parent / "browser" / "page.html"
BUNDLE = test_mqttjs.MODULES / "mqtt" / "dist" / "mqtt.min.js"
CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
SECONDS = 30

if CHROMIUM is None:
    lacking = "not installed: chromium"
elif not BUNDLE.is_file():
    lacking = f"MQTT.js is not installed in {test_mqttjs.MODULES} (`make test` does it where there is npm)"
else:
    lacking = ""
pytestmark = pytest.mark.skipif(bool(lacking), reason=lacking)


class Pages(http.server.ThreadingHTTPServer):
    """Serves the page, and holds its picture back until the page has finished."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), PageHandler)
        self.finished = threading.Event()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class PageHandler(http.server.BaseHTTPRequestHandler):
    server: Pages

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/held-back":
            self.server.finished.wait(DEADLINE)
            self._answer(b"", "image/png")
        elif path == "/mqtt.js":
            self._answer(BUNDLE.read_bytes(), "text/javascript")
        elif path == "/":
            self._answer(PAGE.read_bytes(), "text/html")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        self._answer(b"", "text/plain")
        self.server.finished.set()

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Nothing: the test says what is wrong."""


@contextmanager
def pages() -> Iterator[Pages]:
    with Pages() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.finished.set()
            server.shutdown()
            thread.join()


def seen_by_browser(server: Pages, folder: Path, **query: str) -> list[str]:
    """What the page has written into its list by its end."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--disable-background-networking", "--no-proxy-server", "--ignore-certificate-errors"),
            *(f"--user-data-dir={folder}", "--dump-dom", f"{server.origin}/?{urllib.parse.urlencode(query)}"),
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [html.unescape(item) for item in re.findall(r"<li>(.*?)</li>", done.stdout)]


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize(("way", "version"), [("ws", "5"), ("ws", "4"), ("wss", "5")])
def test_a_page(carrier: str, tmp_path: Path, topic: str, way: str, version: str) -> None:
    """It subscribes, publishes and shows what came; it is of a site that may connect."""
    with pages() as server:
        web = f'[listeners.websocket]\npath = "/mqtt"\norigins = ["{server.origin}"]'
        transports = start(tmp_path, carrier, CONFIG.format(web=web))
        try:
            url = f"{way}://127.0.0.1:{transports.ports[way]}/mqtt"
            seen = seen_by_browser(server, tmp_path / "profile", url=url, version=version, topic=topic)
            assert seen == [
                "connected",
                *(f"{topic}/{qos} {qos} grüße {qos}" for qos in range(3)),
                f"{topic}/large 1 200000",
                "closed",
            ]
            transports.process.stop()
        finally:
            if transports.process.process.poll() is None:
                transports.process.kill()


@pytest.mark.timeout(2 * SECONDS)
def test_a_page_of_another_site(tmp_path: Path, topic: str) -> None:
    """What a browser sends as Origin is not the page's to choose."""
    with pages() as server:
        web = f'[listeners.websocket]\norigins = ["{server.origin}0"]'
        transports = start(tmp_path, "reactor", CONFIG.format(web=web))
        try:
            url = f"ws://127.0.0.1:{transports.ports['ws']}/mqtt"
            seen = seen_by_browser(server, tmp_path / "profile", url=url, version="5", topic=topic)
            assert "connected" not in seen
            assert seen
            transports.process.printed(f"pages of {server.origin} may not connect here")
        finally:
            transports.process.kill()
