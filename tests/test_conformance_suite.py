"""The suite itself: it catches each fault of a store, and says what it leaves out, and why."""

from __future__ import annotations

import json
import re
from pathlib import Path

import fallback_contract
import lighter
import pytest
from children import Children

from sessionstore.testing import SharedStoreConformance

HERE = Path(__file__).parent
SUITES = HERE / "faulty_json_stores.py"
PAGE = HERE.parent / "docs" / "extend" / "writing_a_store.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
THEIRS = "from sessionstore import SQLiteSessionStore as"

RUN = """
    import json, sys
    import pytest

    class Outcomes:
        def __init__(self):
            self.passed, self.failed, self.skipped = [], [], []

        def pytest_runtest_logreport(self, report):
            name = report.nodeid.partition("::")[2].replace("::test_", " ")
            if report.when == "call" or report.skipped:
                getattr(self, report.outcome).append(name)

    outcomes = Outcomes()
    config = ["-c", sys.argv[1], "-n", "0", "-p", "no:cacheprovider", "-q", "-rs", "--tb=no"]
    pytest.main([*config, *sys.argv[2:]], plugins=[outcomes])
    print()
    print(json.dumps(vars(outcomes)))
"""
CLOSED = [
    f"a_closed_store_refuses[{how}-{used}]"
    for how in ("close", "aclose")
    for used in ("never used", "used")
]
COST = "a_turn_costs_the_same_in_a_long_session"
KILLED = [
    "a_killed_writer_leaves_all_or_nothing[append]",
    "a_killed_writer_leaves_all_or_nothing[update]",
]
REFUSED = "refusals_of_the_system_are_store_errors"
FREE = ["async_calls_leave_the_loop_free", "an_async_call_that_waits_leaves_the_loop_free"]
CANCELLED = "a_call_cancelled_while_it_waits_is_settled"

PASS = {
    "TestAsItIs": [*CLOSED, *KILLED, REFUSED, *FREE, CANCELLED],
    "TestAsDocumented": [*CLOSED, REFUSED, *FREE, CANCELLED],
    "TestOpenOnce": [*KILLED, *CLOSED],
    "TestMyStore": ["ping_is_answered[sync]", "ping_is_answered[async]"],
}
FAIL = {
    "TestInPlace": [*KILLED, REFUSED],  # a full disk leaves as little of the file
    "TestOsErrors": [REFUSED],
    "TestClosed": CLOSED,
    "TestBlocking": FREE,
    "TestWholeFile": [COST],
    "TestLater": [CANCELLED],
}
SKIP = {
    "TestAsItIs": [COST],
    "TestOpenOnce": [FREE[1], CANCELLED],
    "TestNothingClaimed": [*KILLED, *FREE, CANCELLED],
    "TestMyStore": [COST],
}


def named(tests: dict[str, list[str]]) -> set[str]:
    return {f"{suite} {name}" for suite, names in tests.items() for name in names}


@pytest.mark.soak
def test_the_suite_catches_each_fault_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    mine = tmp_path / "test_my_store.py"
    assert THEIRS in BLOCKS[1]
    mine.write_text(BLOCKS[1].replace(THEIRS, "from json_file_store import JsonFileStore as"))
    tests = [
        f"{mine if 'MyStore' in test else SUITES}::{test.replace(' ', '::test_', 1)}"
        for test in sorted(named(PASS) | named(FAIL) | named(SKIP))
    ]
    with Children() as children:
        output = children.run(RUN, HERE.parent / "pyproject.toml", *tests)
    outcomes = json.loads(output.splitlines()[-1])
    assert set(outcomes["passed"]) == named(PASS)
    assert set(outcomes["failed"]) == named(FAIL)
    assert set(outcomes["skipped"]) == named(SKIP)
    assert "not claimed: supports_flat_cost is false in TestMyStore" in output
    assert "not claimed: supports_crash_safety is false in TestNothingClaimed" in output


def names_of_tests(suite: type) -> list[str]:
    return [name for name in vars(suite) if name.startswith("test_")]


def test_no_test_of_the_suite_hides_another() -> None:
    names = [name for suite in SharedStoreConformance.__mro__ for name in names_of_tests(suite)]
    assert len(names) == len(set(names)), [name for name in names if names.count(name) > 1]


@pytest.mark.parametrize(
    "suite",
    [
        lighter.Checked,
        lighter.Shorter,
        lighter.Lighter,
        fallback_contract.Outage,
        fallback_contract.GoingDownAndUp,
    ],
)
def test_every_name_that_is_left_out_is_a_test_of_the_suite(suite: type) -> None:
    left_out = set(names_of_tests(suite)) - {name for name, test in vars(suite).items() if test}
    assert left_out <= {
        name for base in SharedStoreConformance.__mro__ for name in names_of_tests(base)
    }
