"""A real browser shows what objects show in a notebook, takes none of it for code, and loads none.

Without Chromium this fails: what only a browser can prove is not proved by leaving it out.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import cache
from html import unescape as html_unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browser import browse
from html_samples import ATTACK, HOSTILE, loading, shown

# How notebooks put an output into their page, and as a file would have it.
INSERTED = """<body><script type="application/json" id="outputs">{json}</script><script>
for (const html of JSON.parse(document.getElementById("outputs").textContent)) {{
  const output = document.createElement("div");
  document.body.append(output);
  {insert};
}}
</script>"""
WAYS = {
    "file": "<body>{html}",
    "innerHTML": INSERTED.replace("{insert}", "output.innerHTML = html"),
    "fragment": INSERTED.replace(
        "{insert}", "output.append(document.createRange().createContextualFragment(html))"
    ),
}
HOSTS = {
    "a page": ("", ""),
    "a dark page": ("<style>:root {color-scheme: dark}</style>", ""),
    "JupyterLab": (
        "<style>:root {--jp-layout-color0: #fff; --jp-content-font-color1: #000d}</style>",
        'data-jp-theme-light="true"',
    ),
    "dark JupyterLab": (
        "<style>:root {--jp-layout-color0: #111; --jp-content-font-color1: #fff}</style>",
        'data-jp-theme-light="false"',
    ),
    "dark VS Code": (
        "<style>:root {--vscode-editor-background: #222; --vscode-editor-foreground: #ccc}</style>",
        'class="vscode-dark"',
    ),
    "VS Code in high contrast": (
        "<style>:root {--vscode-editor-background: #000; --vscode-editor-foreground: #fff}</style>",
        'class="vscode-high-contrast"',
    ),
    "VS Code in light high contrast": (
        "<style>:root {color-scheme: dark; --vscode-editor-background: #fff}</style>",
        'class="vscode-high-contrast vscode-high-contrast-light"',
    ),
}
# What asks its content for a width of its own.
ASKING = {
    "a flex item": "<div style='display: flex'><div>{html}</div></div>",
    "a cell": "<table><tr><td>{html}</td></tr></table>",
    "an inline block": "<div style='display: inline-block'>{html}</div>",
}
# Of all text: whether it is seen, within its window and its row; its contrast to what is behind.
MEASURE = """<script>
const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const paint = (color, opacity = 1) => {
  [canvas.fillStyle, canvas.globalAlpha] = [color, opacity];
  canvas.fillRect(0, 0, 1, 1);
};
const paintBehind = (item) => {
  if (!item) return paint("white");
  paintBehind(item.parentElement);
  paint(getComputedStyle(item).backgroundColor);
};
const painted = () => luminance([...canvas.getImageData(0, 0, 1, 1).data]);
const opacity = (item) => item.closest(".sessionstore-html") === item
  ? 1 : getComputedStyle(item).opacity * opacity(item.parentElement);
const contrast = (item) => {
  paintBehind(item);
  const back = painted();
  paint(getComputedStyle(item).color, opacity(item));
  const [low, high] = [painted(), back].sort((a, b) => a - b);
  return (high + .05) / (low + .05);
};
const within = (place, item) => {
  if (getComputedStyle(item).overflow !== "visible") {
    const room = item.getBoundingClientRect();
    // A space at the end of a line hangs over.
    if (place.left < room.left - 9 || place.right > room.right + 9) return false;
    if (place.top < room.top - 1 || place.bottom > room.bottom + 1) return false;
  }
  return item.matches(".sessionstore-html") || within(place, item.parentElement);
};
const seen = (text) => {
  const item = text.parentElement, range = document.createRange();
  range.selectNodeContents(text);
  const place = range.getBoundingClientRect();
  return place.width > 0 && place.height > 0 && within(place, item)
    && item.checkVisibility({visibilityProperty: true, opacityProperty: true});
};
const texts = (view) => {
  const found = [], walker = document.createTreeWalker(view, NodeFilter.SHOW_TEXT);
  const shown = innerWidth > 700 ? "style" : "style, .log thead";  // heads of columns that are rows
  while (walker.nextNode()) {
    const text = walker.currentNode;
    if (/[\\p{L}\\p{N}\\p{P}\\p{S}]/u.test(text.data) && !text.parentElement.closest(shown))
      found.push(text);
  }
  return found;
};
const found = {wide: 0, over: 0, contrast: 21, seen: 0, narrow: 1e6, hidden: [], loose: 0};
for (const item of document.querySelectorAll("details")) item.open = true;
for (const view of document.querySelectorAll(".sessionstore-html")) {
  const frame = view.getBoundingClientRect();
  found.wide = Math.max(found.wide, view.scrollWidth - view.clientWidth, frame.right - innerWidth);
  found.narrow = Math.min(found.narrow, frame.width);
  let bottom = frame.top;
  for (const row of view.querySelectorAll("tr")) {
    const place = row.getBoundingClientRect();
    if (place.height === 0) continue;
    found.over = Math.max(found.over, bottom - place.top);
    bottom = place.bottom;
  }
  for (const text of texts(view)) {
    if (!seen(text)) found.hidden.push(text.data.slice(0, 40));
    found.contrast = Math.min(found.contrast, contrast(text.parentElement));
    found.seen += 1;
  }
  for (const item of view.querySelectorAll(".text, bdi")) {  // marks may be drawn far beyond a line
    const {display, overflow} = getComputedStyle(item);
    found.loose += display === "inline" || overflow !== "hidden";
  }
}
document.title = JSON.stringify(found);
</script>"""


class Listener(ThreadingHTTPServer):
    """A server that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def titled(html: str, folder: Path, *options: str) -> tuple[str, str]:
    """Open a page, and give its title and its document when all is done."""
    page = folder / "page.html"
    page.write_text(f'<!doctype html><meta charset="utf-8"><title>mine</title>{html}', "utf-8")
    document = browse(page, "--virtual-time-budget=3000", "--dump-dom", *options)
    return document.partition("<title>")[2].partition("</title>")[0], document


def put(way: str, outputs: list[str]) -> str:
    # As in any page with JSON in it, nothing there may end the script.
    held = json.dumps(outputs).replace("<", "\\u003c")
    return WAYS[way].format(html="".join(outputs), json=held)


@cache
def outputs(address: str = "https://example.org") -> list[str]:
    texts = (*HOSTILE, *loading(address))
    return [thing._repr_html_() for text in texts for thing in shown(text, address).values()]


@pytest.mark.parametrize("way", WAYS)
def test_hostile_text_runs_nothing_and_loads_nothing(
    way: str, tmp_path: Path, listener: Listener
) -> None:
    there = outputs(listener.address)
    title, document = titled(put(way, there), tmp_path)
    assert title == "mine"
    assert document.count('<div class="sessionstore-html ') == len(there) == 130
    assert f"&lt;script&gt;{ATTACK}&lt;/script&gt;" in document
    assert listener.asked == []


@pytest.mark.parametrize("way", WAYS)
def test_the_test_sees_unescaped_text_run_and_load(
    way: str, tmp_path: Path, listener: Listener
) -> None:
    """Show that the test above could fail."""
    title, _ = titled(put(way, [HOSTILE[2].replace("\"'", "")]), tmp_path)
    assert title == "owned"
    titled(put(way, [loading(listener.address)[0]]), tmp_path)
    assert "/img" in listener.asked


def measured(body: str, width: int, folder: Path, head: str = "", attribute: str = "") -> Any:
    style = f"<style>body {{ margin: 0; width: {width}px }}</style>"
    html = f"{head}{style}<body {attribute}>{body}{MEASURE}"
    title, _ = titled(html, folder, f"--window-size={max(width, 500)},900")
    found = json.loads(html_unescape(title))
    assert found["wide"] <= 0, "nothing is wider than its place"
    assert found["over"] <= 1, "no row lies over another"
    assert found["loose"] == 0, "no text is drawn over another"
    assert found["hidden"] == []
    assert found["contrast"] > 4.5
    return found


@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("host", HOSTS)
def test_all_text_is_readable_in_every_notebook(host: str, width: int, tmp_path: Path) -> None:
    found = measured("".join(outputs()), width, tmp_path, *HOSTS[host])
    assert found["seen"] > 1000
    assert found["narrow"] == min(width, 1100)


@pytest.mark.parametrize("place", ASKING)
def test_all_text_is_readable_where_the_page_asks_for_a_width(place: str, tmp_path: Path) -> None:
    body = "".join(ASKING[place].format(html=html) for html in outputs()[:8])
    assert measured(body, 360, tmp_path)["narrow"] >= 280


@pytest.mark.parametrize(
    "fault",
    [
        ".text { display: none }",
        ".text { visibility: hidden }",
        ".text { opacity: 0 }",
        ".text { height: 0 }",
        ".text { background: #333 }",
        "bdi { overflow: visible }",
        ".sessionstore-html { min-width: 0 }",
    ],
)
def test_the_test_sees_text_that_is_not_readable(fault: str, tmp_path: Path) -> None:
    """Show that the two tests above could fail."""
    rule = f"<style>{fault.replace(';', ' !important;').replace(' }', ' !important }')}</style>"
    body = ASKING["a flex item"].format(html="".join(outputs()[:8]))
    with pytest.raises(AssertionError):
        assert measured(body, 360, tmp_path, head=rule)["narrow"] >= 280
