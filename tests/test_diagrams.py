"""The pictures of the documentation are those that the script draws."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest
from pages import DOCS, PAGES

DIAGRAMS = DOCS / "diagrams"
NAMES = sorted(path.name for path in DIAGRAMS.glob("*.svg"))


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw", DIAGRAMS / "draw.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_has_its_drawing(draw: ModuleType) -> None:
    assert sorted(draw.PICTURES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_as_it_is_drawn(draw: ModuleType, name: str) -> None:
    drawn = draw.PICTURES[name]()
    assert (DIAGRAMS / name).read_text(encoding="utf-8") == drawn, "make diagrams draws it again"
    picture = ET.fromstring(drawn)  # noqa: S314 - our own
    told = [picture.findtext(f"{{http://www.w3.org/2000/svg}}{part}") for part in ("title", "desc")]
    assert all(told)


TIMELINES = sorted(path.name for path in (DIAGRAMS / "timelines").glob("*.svg"))


@pytest.mark.parametrize("name", TIMELINES)
def test_a_time_line_is_on_a_page_and_readable_in_light_and_dark(name: str) -> None:
    drawn = (DIAGRAMS / "timelines" / name).read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in drawn
    assert ET.fromstring(drawn).findtext("{http://www.w3.org/2000/svg}title")  # noqa: S314 - our own
    page = PAGES["guides/notebooks"].read_text(encoding="utf-8")
    assert f"diagrams/timelines/{name})" in page


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_on_a_page(name: str) -> None:
    assert any(f"diagrams/{name})" in path.read_text(encoding="utf-8") for path in PAGES.values())
