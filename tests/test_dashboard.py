"""The dashboard and the alert rules ask for what a traced store tells Prometheus, by real names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, Metric

from sessionstore import (
    FallbackSessionStore,
    SessionNotFoundError,
    SQLiteSessionStore,
    TracedSessionStore,
)
from sessionstore.operations import Get, GetMessages

FOLDER = Path(__file__).parent.parent / "docs" / "operations"
DASHBOARD, ALERTS = FOLDER / "sessionstore_dashboard.json", FOLDER / "sessionstore_alerts.yaml"
PAGE = (FOLDER / "tracing.md").read_text(encoding="utf-8")
OURS = r"(?:db_client|db|sessionstore|error)_\w+"
ADDED = {"le", "instance"}
"""Labels that Prometheus adds."""


@pytest.fixture(scope="module")
def emitted() -> Iterator[list[Metric]]:
    meters = MeterProvider([PrometheusMetricReader()], shutdown_on_exit=False)
    fallback = FallbackSessionStore(SQLiteSessionStore())
    with TracedSessionStore(fallback, name="chats", meter_provider=meters) as store:
        store.append_message("s", {"role": "user", "content": "Hello!"})
        store.run([Get("s"), GetMessages("s")])
        with pytest.raises(SessionNotFoundError):
            store.update("t")
        yield list(REGISTRY.collect())
    meters.shutdown()


def expressions() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = [each["expr"] for panel in dashboard["panels"] for each in panel["targets"]]
    found += [
        each["definition"] for each in dashboard["templating"]["list"] if "definition" in each
    ]
    return found + [rule["expr"] for rule in rules()]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def named(expression: str) -> tuple[set[str], set[str]]:
    """Give the metrics and the labels that an expression names."""
    of_labels = r"\{[^}]*\}|\b(?:by|on) \([^)]*\)|(?<=, )sessionstore_store(?=\))"
    labels = " ".join(re.findall(of_labels, expression))
    words = re.sub(r'"[^"]*"', "", labels)
    metrics = set(re.findall(OURS, re.sub(of_labels, "", expression)))
    return metrics, set(re.findall(r"[a-z_]\w+", words)) - {"by", "on"}


def test_every_metric_of_the_dashboard_and_the_rules_is_there(emitted: list[Metric]) -> None:
    there = {sample.name for metric in emitted for sample in metric.samples}
    asked = set().union(*(named(each)[0] for each in expressions()))
    assert len(asked) > 12
    assert not asked - there
    told = {metric.name for metric in emitted if re.match(r"sessionstore|db_client", metric.name)}
    unseen = {name for name in told if not any(one.startswith(name) for one in asked)}
    assert unseen == {"sessionstore_errors"}  # the durations have them by class, too


def test_every_label_of_the_dashboard_and_the_rules_is_there(emitted: list[Metric]) -> None:
    there = {label for metric in emitted for sample in metric.samples for label in sample.labels}
    asked = set().union(*(named(each)[1] for each in expressions()))
    assert {"sessionstore_store", "db_operation_name"} < asked
    assert not asked - there - ADDED


def test_every_panel_says_what_it_shows_and_none_lies_upon_another() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert panel["title"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken
        taken |= cells
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_every_rule_says_what_is_wrong_and_what_to_do() -> None:
    for rule in rules():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_the_page_names_every_metric(emitted: list[Metric]) -> None:
    for metric in emitted:
        if re.match(r"sessionstore|db_client", metric.name):
            dotted = re.findall(r"`((?:sessionstore|db\.client)\.[\w.]+)`", PAGE)
            plain = metric.name.removesuffix("_seconds")
            assert plain in {name.replace(".", "_") for name in dotted}, metric.name
