"""Chromium, driven by the DevTools protocol: pages, scripts in them, and what they ask the network for."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import websocket

from tests.processes import RunningProcess, eventually

START_SECONDS = 30.0
ANSWER_SECONDS = 15.0
PUMP_SECONDS = 0.05
MISSING = "There is no Chromium here. Install it with: apt-get install chromium chromium-driver"
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # it does not start as root with one
    "--disable-gpu",
    "--disable-dev-shm-usage",  # in containers /dev/shm may have 64 MB
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "about:blank",
)


@dataclass
class Asked:
    """One request that a page has made, as the network log has it. Header names in lower case."""

    url: str
    method: str
    at: float  # monotonic seconds of the browser
    headers: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    closed: bool = False  # answered to the end, or broken off


class Chromium:
    """A browser of its own, with a new and empty profile."""

    def __init__(self, profile: Path) -> None:
        program = next((found for name in NAMES if (found := shutil.which(name))), None)
        assert program, MISSING
        line = shlex.join([program, f"--user-data-dir={profile}", *FLAGS])
        environ = {"HOME": str(profile), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}
        self.process = RunningProcess("chromium", line, environ, profile.with_suffix(".log"))
        port = profile / "DevToolsActivePort"

        def ready() -> bool:
            assert self.process.status is None, f"Chromium did not start:\n{self.process.log_text()[-2000:]}"
            return port.exists() and "\n" in port.read_text()

        eventually(ready, START_SECONDS, about="Chromium listens")
        self._address = f"http://127.0.0.1:{port.read_text().split()[0]}"
        self._pages: list[Page] = []

    def page(self, url: str, *, width: int = 1000, height: int = 700, dark: bool = False) -> Page:
        """A new page at this address, loaded."""
        with requests.Session() as session:
            session.trust_env = False
            made = session.put(f"{self._address}/json/new?about:blank", timeout=ANSWER_SECONDS).json()
        page = Page(made["webSocketDebuggerUrl"])
        self._pages.append(page)
        page.look_like(width, height, dark)
        page.go(url)
        return page

    def frame(self, part: str) -> Page:
        """A frame of another site in an open page, by a part of its address; as a page of its own."""

        def found() -> Any:
            with requests.Session() as session:
                session.trust_env = False
                targets = session.get(f"{self._address}/json", timeout=ANSWER_SECONDS).json()
            return [one for one in targets if one["type"] == "iframe" and part in one["url"]]

        address = eventually(found, 15, about=f"a frame of {part}")[0]["webSocketDebuggerUrl"]
        page = Page(address, is_frame=True)
        self._pages.append(page)
        return page

    def close_pages(self) -> None:
        """Close every page, and with it all its connections."""
        while self._pages:
            self._pages.pop().close()

    def close(self) -> None:
        """End the browser and everything that it has started."""
        self.process.kill_all()


class Page:
    """One tab. `problems`: what went wrong in it without anybody asking (scripts' errors, refusals by the policy)."""

    def __init__(self, address: str, *, is_frame: bool = False) -> None:
        self._is_frame = is_frame  # and goes with the page that it is in
        self.problems: list[str] = []
        self._requests: dict[str, list[Asked]] = {}  # by the protocol's id; redirects and reconnects may share one
        self._headers: dict[str, dict[str, str]] = {}
        self._number = 0
        self._loaded = False
        self._socket = websocket.create_connection(address, timeout=ANSWER_SECONDS)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._number += 1
        self._socket.settimeout(ANSWER_SECONDS)
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._socket.recv())
            if told.get("id") == self._number:
                assert "error" not in told, f"{method}: {told['error']}"
                result: dict[str, Any] = told["result"]
                return result
            self._note(told)

    def look_like(self, width: int, height: int, dark: bool, *, scale: int = 2) -> None:
        """The window's size in CSS pixels, the colours that the person prefers, and the dots of a pixel's side."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale}
        self.tell("Emulation.setDeviceMetricsOverride", **size, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, url: str) -> None:
        """Load an address."""
        self._loaded = False
        self.tell("Page.navigate", url=url)
        self.wait(lambda: self._loaded, about=f"{url} is loaded")

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited when it is a promise."""
        told = self.tell("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, f"{script}\n{told['exceptionDetails']}"
        return told["result"].get("value")

    def wait(self, look: Callable[[], Any], seconds: float = 15.0, about: str = "") -> Any:
        """The first true value that `look` returns, while the browser's tidings are taken in."""

        def pumped() -> Any:
            self.pump(PUMP_SECONDS)
            return look()

        return eventually(pumped, seconds, about=lambda: f"{about}; problems: {self.problems}", poll_seconds=0)

    def wait_for(self, script: str, seconds: float = 15.0) -> Any:
        """The first true value of an expression in the page."""
        return self.wait(lambda: self.run(script), seconds, script)

    def asked(self, part: str) -> list[Asked]:
        """The requests so far whose URL contains this, oldest first."""
        self.pump(0)
        return sorted(
            (one for made in self._requests.values() for one in made if part in one.url), key=lambda one: one.at
        )

    def pump(self, seconds: float) -> None:
        """Take in what the browser tells of in this time."""
        deadline = time.monotonic() + seconds
        while True:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                self._note(json.loads(self._socket.recv()))
            except websocket.WebSocketTimeoutException:
                return

    def click(self, selector: str) -> None:
        """Click as a person does: where the element is seen."""
        script = (
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({_find(selector)}.getBoundingClientRect())"
        )
        x, y = self.run(script)
        for kind in ("mousePressed", "mouseReleased"):
            self.tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Put text into a field as a person does, then press Enter."""
        self.run(f"{_find(selector)}.focus()")
        self.tell("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self.tell(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
            )

    def text(self, selector: str) -> str:
        """What a person reads there; empty when it is hidden."""
        return str(self.run(f"((it) => it.checkVisibility() ? it.innerText : '')({_find(selector)})"))

    def picture(self, file: Path) -> None:
        """What is seen now, as a PNG."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """Close the tab."""
        if not self._is_frame:
            self.tell("Page.close")
        self._socket.close()

    def _note(self, told: dict[str, Any]) -> None:
        name, values = told.get("method", ""), told.get("params", {})
        if name == "Page.loadEventFired":
            self._loaded = True
        elif name == "Runtime.exceptionThrown":
            self.problems.append(str(values["exceptionDetails"]))
        elif name == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.problems.append(f"{values['entry']['text']} {values['entry'].get('url', '')}")
        elif name.startswith("Network."):
            self._note_network(name.removeprefix("Network."), values)

    def _note_network(self, name: str, values: dict[str, Any]) -> None:
        id = values.get("requestId", "")
        made = self._requests.setdefault(id, [])
        if name == "requestWillBeSent":
            headers = {key.lower(): value for key, value in values["request"]["headers"].items()}
            made.append(Asked(values["request"]["url"], values["request"]["method"], values["timestamp"], headers))
            made[-1].headers |= self._headers.pop(id, {})
        elif name == "requestWillBeSentExtraInfo":  # comes before or after the one above; the headers as they are sent
            headers = {key.lower(): value for key, value in values["headers"].items()}
            if made:
                made[-1].headers |= headers
            else:
                self._headers[id] = headers
        elif name == "webSocketCreated":
            made.append(Asked(values["url"], "GET", 0.0))
        elif not made:
            return
        elif name == "responseReceived" or name == "webSocketHandshakeResponseReceived":
            made[-1].status = values["response"]["status"]
        elif name in ("loadingFinished", "loadingFailed", "webSocketClosed"):
            made[-1].closed = True


def _find(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)})"
