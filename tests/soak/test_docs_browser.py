"""The documentation in a real browser: nothing sticks out of a narrow window, and search finds.

`make docs` builds what is looked at: without it, or without Chromium, this fails.
"""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from browser import browse
from pages import DOCS, PAGES

SITE = DOCS / "_build" / "html"
HINT = "make docs builds what is looked at here"
# Each page in frames of both widths and themes: by how much it is wider, and what is cut off there.
LOOK = """<!doctype html><meta charset="utf-8"><body><script>
const look = async (address, width, theme) => {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 900px; border: 0`;
  frame.src = address;
  document.body.append(frame);
  await new Promise(done => frame.onload = done);
  const page = frame.contentDocument;
  page.body.dataset.theme = theme;
  await new Promise(done => setTimeout(done, 20));
  const root = page.documentElement;
  // Not code and tables, which scroll by themselves. The theme's own margins stick out by 8 pixels.
  const parts = [...page.querySelectorAll("article, article section")];
  const images = [...page.querySelectorAll("article img")];
  const shown = {
    page: address, width, theme,
    wider: Math.max(root.scrollWidth - width,
      ...parts.map(one => one.scrollWidth - one.clientWidth - 8)),
    missing: images.filter(one => !one.naturalWidth).map(one => one.src),
    ground: getComputedStyle(page.body).backgroundColor,
    ink: getComputedStyle(page.querySelector("article p") || page.body).color,
  };
  frame.remove();
  return shown;
};
(async () => {
  const found = [];
  for (const address of PAGES)
    for (const [width, theme] of [[400, "light"], [400, "dark"], [1400, "light"], [1400, "dark"]])
      found.push(await look(address, width, theme));
  document.title = "done";
  document.body.textContent = JSON.stringify(found);
})();
</script>"""
SEARCH = """<!doctype html><meta charset="utf-8"><body><script>
const frame = document.createElement("iframe");
frame.src = ADDRESS;
document.body.append(frame);
frame.onload = async () => {
  const page = frame.contentDocument;
  for (let n = 0; n < 100 && !page.querySelector("#search-results li a"); n++)
    await new Promise(done => setTimeout(done, 50));
  await new Promise(done => setTimeout(done, 1000));
  const found = [...page.querySelectorAll("#search-results li a")].map(a => a.pathname);
  document.body.textContent = JSON.stringify(found);
};
</script>"""
# What people look for, and where they should be led: among the first results.
SOUGHT = {
    "SessionConflictError": "reference/errors",
    "FlakySessionStore": "reference/api/testing",
    "test": "guides/testing_your_code",
    "conformance": "extend/conformance_suite",
    "fastapi": "guides/fastapi",
    "sidebar": "guides/without_a_framework",
    "expire": "operations/retention",
    "RedisChatMessageHistory": "guides/moving/redis_chat_message_history",
    "delete": "guides/deleting_a_users_data",
    "durability": "stores/redis",
}


def told(page: Path) -> Any:
    options = ("--allow-file-access-from-files", "--virtual-time-budget=300000", "--dump-dom")
    document = browse(page, *options, "--window-size=1600,1000")
    body = re.search(r"<body[^>]*>(.*)</body>", document, re.DOTALL)
    assert body
    return json.loads(unescape(body[1]))


def channels(colour: str) -> list[float]:
    return [float(one) / 255 for one in re.findall(r"[\d.]+", colour)[:3]]


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels(colour)]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one: str, other: str) -> float:
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("section", sorted({name.split("/")[0] for name in PAGES}))
def test_pages_fit_narrow_and_wide_windows_light_and_dark(section: str, tmp_path: Path) -> None:
    assert SITE.is_dir(), HINT
    names = [name for name in PAGES if name.split("/")[0] == section]
    addresses = [(SITE / f"{name}.html").as_uri() for name in names]
    page = tmp_path / "look.html"
    page.write_text(LOOK.replace("PAGES", json.dumps(addresses)), encoding="utf-8")
    found = told(page)
    assert len(found) == 4 * len(names)
    assert not [one for one in found if one["wider"] > 0 or one["missing"]]
    assert not [one for one in found if contrast(one["ground"], one["ink"]) < 7]
    for one in found:
        assert (luminance(one["ground"]) < 0.5) == (one["theme"] == "dark"), one


@pytest.mark.parametrize("words", SOUGHT)
def test_search_leads_to_the_page(words: str, tmp_path: Path) -> None:
    assert SITE.is_dir(), HINT
    page = tmp_path / "search.html"
    address = f"{(SITE / 'search.html').as_uri()}?q={words}"
    page.write_text(SEARCH.replace("ADDRESS", json.dumps(address)), encoding="utf-8")
    found = [path.partition("/html/")[2].removesuffix(".html") for path in told(page)]
    assert SOUGHT[words] in found[:10]
