"""A headless Chromium, driven over its DevTools protocol."""

import base64
import contextlib
import io
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from websockets.sync.client import ClientConnection, connect

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
    # The viewer draws with WebGL, here on the processor; colours come out as they are written.
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--force-color-profile=srgb"),
    *("--remote-debugging-port=0", "--remote-debugging-address=127.0.0.1"),
)
_START_SECONDS = 60.0


class Page:
    """One page.

    ``errors``: what its console and its network complained of; ``answers``: URL, HTTP status, seconds to the headers.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self._asked: dict[str, tuple[str, float]] = {}
        self.errors: list[str] = []
        self.answers: list[tuple[str, int, float]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def go(self, url: str, width: int, height: int) -> None:
        """Open a URL in a window of this size in pixels."""
        self.resize(width, height)
        self._send("Page.navigate", url=url)
        deadline = time.monotonic() + _START_SECONDS
        while self.run("document.readyState") != "complete":
            assert time.monotonic() < deadline, f"{url} does not load"
            time.sleep(0.05)

    def resize(self, width: int, height: int) -> None:
        """Give the window another size."""
        self._send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, expression: str) -> Any:
        """Return what an expression of JavaScript, or the promise that it makes, gives."""
        answer = self._send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        problem = answer.get("exceptionDetails")
        assert problem is None, f"{expression}: {problem['exception'].get('description', problem['text'])}"
        return answer["result"].get("value")

    def call(self, function: str, *arguments: object) -> Any:
        """Call a function of the page with JSON arguments."""
        return self.run(f"{function}({','.join(map(json.dumps, arguments))})")

    def picture(self) -> npt.NDArray[np.uint8]:
        """Return what the window shows as an array ``(rows, columns, 3)``."""
        data = base64.b64decode(self._send("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def _send(self, method: str, **parameters: object) -> Any:
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=_START_SECONDS))
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message.get('error')}"
                return message["result"]
            self._hear(message.get("method"), message.get("params", {}))

    def _hear(self, event: str | None, said: dict[str, Any]) -> None:
        if event == "Runtime.consoleAPICalled" and said["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(each.get("value", each.get("description"))) for each in said["args"]))
        elif event == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif event == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.errors.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
        elif event == "Network.requestWillBeSent":
            self._asked[said["requestId"]] = (said["request"]["url"], said["timestamp"])
        elif event == "Network.responseReceived" and said["requestId"] in self._asked:
            url, started = self._asked[said["requestId"]]
            self.answers.append((url, said["response"]["status"], said["timestamp"] - started))


@contextlib.contextmanager
def chromium(program: str) -> Iterator[Page]:
    """Run a browser with an empty profile and yield its page."""
    profile = Path(tempfile.mkdtemp(prefix="dicomsvc-chromium-"))
    arguments = [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(_page_url(profile, process), max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def _page_url(profile: Path, process: "subprocess.Popen[bytes]") -> str:
    import httpx

    said = profile / "DevToolsActivePort"
    deadline = time.monotonic() + _START_SECONDS
    while not (said.exists() and "\n" in said.read_text()):
        assert process.poll() is None and time.monotonic() < deadline, "Chromium does not start"
        time.sleep(0.05)
    port = said.read_text().splitlines()[0]
    with httpx.Client(trust_env=False) as client:
        targets = client.get(f"http://127.0.0.1:{port}/json/list").json()
    return str(next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page"))
