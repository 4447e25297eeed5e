"""Pages in a real browser, by its DevTools protocol: what they show, and what a user does there.

It speaks through a pipe, so that no port is open and the browser ends when the tests do.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from browser import HINT, OPTIONS, binary

_PATIENCE = 120.0  # a busy machine draws for long
# The protocol's file descriptors are 3 and 4.
_LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3), os.dup2(int(sys.argv[2]), 4), os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """Chromium without a window, and how it is spoken to."""

    def __init__(self, sending: int, receiving: int) -> None:
        self._sending, self._receiving = sending, receiving
        self._ready = selectors.DefaultSelector()
        self._ready.register(receiving, selectors.EVENT_READ)
        self._received = b""
        self._number = 0

    def open(self, url: str) -> Page:
        """Open a page in a tab of its own."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime"):
            page.call(f"{domain}.enable")
        page.call("Page.navigate", url=url)
        return page

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Have something done, and give the outcome. What a page asks its user is affirmed."""
        self._number += 1
        number = self._number
        self._send(number, method, session, params)
        while True:
            told = self._receive()
            if told.get("method") == "Page.javascriptDialogOpening":
                answer = {"accept": True}
                self._send(-1, "Page.handleJavaScriptDialog", told.get("sessionId"), answer)
            if told.get("id") == number:
                if "navigated" in str(told.get("error")):
                    raise Navigated(method)
                assert "error" not in told, f"{method}: {told['error']}"
                result: dict[str, Any] = told["result"]
                return result

    def _send(self, number: int, method: str, session: str | None, params: dict[str, Any]) -> None:
        request = {"id": number, "method": method, "params": params}
        if session:
            request["sessionId"] = session
        left = json.dumps(request).encode() + b"\0"
        while left:
            left = left[os.write(self._sending, left) :]

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE
        while b"\0" not in self._received:
            assert self._ready.select(deadline - time.monotonic()), "the browser says nothing"
            part = os.read(self._receiving, 1 << 16)
            assert part, "the browser ended"
            self._received += part
        first, _, self._received = self._received.partition(b"\0")
        told: dict[str, Any] = json.loads(first)
        return told


class Navigated(Exception):  # noqa: N818 - it is said, and no fault
    """The page that was asked is gone: another one is about to be there."""


class Page:
    """A tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def run(self, script: str) -> Any:
        """Evaluate JavaScript in the page, and give its value."""
        done = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, f"{script}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def wait_for(self, condition: str) -> Any:
        """Wait until JavaScript gives something true, and give that."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            with suppress(Navigated):
                if found := self.run(condition):
                    return found
                shown = "document.body && document.body.innerText"
                assert time.monotonic() < deadline, f"in vain: {condition}\n{self.run(shown)}"
            time.sleep(0.05)

    def reload(self) -> None:
        """Load the page anew, and wait until the old one is gone."""
        self.run("window.isOld = true")
        self.call("Page.reload")
        self.wait_for("!window.isOld")

    def click(self, element: str) -> None:
        """Click what a script gives, as soon as it is there and may be clicked."""
        self._do(element, "(found.click(), true)")

    def fill(self, element: str, text: str) -> None:
        """Type a text in place of what is there; again, where a page still being drawn drops it."""
        is_there = f"found.value === {json.dumps(text)}"
        typing = f"document.execCommand('insertText', false, {json.dumps(text)})"
        self._do(element, f"{is_there} || (found.focus(), found.select(), {typing}, false)")

    def type(self, element: str, text: str) -> None:
        """Type a text in place of what is there, and press Enter."""
        self.fill(element, text)
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        for what in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=what, **enter)

    def _do(self, element: str, what: str) -> None:
        ready = "found && !found.matches(':disabled')"
        self.wait_for(f"(found => {ready} && ({what}))({element})")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser, with a profile that is thrown away."""
    program = binary()
    assert program, HINT
    (taken, sending), (receiving, given) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [*OPTIONS, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        command = [sys.executable, "-ISc", _LAUNCH, str(taken), str(given), program, *options]
        process = subprocess.Popen(command, pass_fds=(taken, given), stderr=subprocess.DEVNULL)
        os.close(taken), os.close(given)
        try:
            yield Browser(sending, receiving)
        finally:
            os.close(sending), os.close(receiving)  # so that it ends
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
