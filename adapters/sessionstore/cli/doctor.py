"""``sessionstore doctor``: whether a store can be reached, and all is well with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from sessionstore.arguments.urls import REDIS_SCHEMES
from sessionstore.cli.checks.finding import REACH, Finding, failed, ok, warning
from sessionstore.cli.ending import Ending, Status
from sessionstore.cli.options import Json, Store, StoreFile, Timeout, Yes
from sessionstore.cli.output import counted, say, say_json
from sessionstore.cli.pending import open_fallback
from sessionstore.cli.places import fallback_url, file_of, open_at, url_given
from sessionstore.cli.text import in_a_line, without_secrets
from sessionstore.errors import SessionStoreError, StoreUnavailableError
from sessionstore.store import SessionStore

__all__ = ["doctor"]

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(
    *,
    store: Store = None,
    store_file: StoreFile = None,
    fallback: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Look at the fallback's SQLite file, or URL, too."),
    ] = None,
    as_document: Json = False,
    timeout: Timeout = None,
    yes: Yes = False,  # noqa: ARG001 - every command takes it
) -> None:
    """Check a store, and change nothing.

    It looks at reach, latency, version, permissions, schema, expiry, clock and fallback. The exit
    status is 1 where something does not work, 3 where the store can't be reached, and else 0,
    also where there are warnings.
    """
    url = url_given(store, store_file)
    with open_at(url, timeout) as opened:
        name = repr(opened)
        findings = [_shown(one, hidden=as_document) for one in _checked(url, opened)]
    if fallback is not None:
        findings += [_shown(one, hidden=as_document) for one in _fallback(fallback, timeout)]
    bad = [finding.check for finding in findings if finding.state == "failed"]
    if as_document:
        say_json({"store": name, "ok": not bad, "checks": findings})
    if bad:
        status = Status.UNAVAILABLE if REACH in bad else Status.FAILED
        raise Ending(status, f"{counted(len(bad), 'check')} failed: {in_a_line(name)}")


def _shown(finding: Finding, *, hidden: bool) -> Finding:
    if not hidden:
        text = in_a_line(without_secrets(finding.text))
        say(f"{finding.state:<8} {finding.check:<12} {text}", _STYLES[finding.state])
    return finding


def _checked(url: str, store: SessionStore) -> Iterator[Finding]:
    try:
        yield from _of_kind(url, store, file_of(url))
    except StoreUnavailableError as error:
        yield failed(REACH, str(error))
    except SessionStoreError as error:
        yield failed("store", str(error))


def _of_kind(url: str, store: SessionStore, file: Path | None) -> Iterator[Finding]:
    # Each needs a driver that the others don't.
    if file is not None:
        from sessionstore.cli.checks.sqlite import check_sqlite  # noqa: PLC0415

        yield from check_sqlite(file, store)
    elif url.partition(":")[0].lower() in REDIS_SCHEMES:
        from sessionstore.cli.checks.redis import check_redis  # noqa: PLC0415

        yield from check_redis(url, store)
    else:
        from sessionstore.cli.checks.sql import check_sql  # noqa: PLC0415

        yield from check_sql(url, store)


def _fallback(place: str, timeout: float | None) -> Iterator[Finding]:
    from sessionstore.cli.checks.sqlite import check_file  # noqa: PLC0415 - only this needs it
    from sessionstore.fallback.left import left_writes, rejected_writes  # noqa: PLC0415

    file = file_of(fallback_url(place))
    if file is not None and not file.exists():
        there = file.parent.is_dir()
        yield (
            ok("fallback", f"{file} is not there yet: the first start makes it")
            if there
            else failed("fallback", f"the folder {file.parent} does not exist: make it")
        )
        return
    if file is not None:
        yield from check_file(file, "fallback")
    try:
        with open_fallback(place, timeout) as opened:
            waiting, rejected = left_writes(opened), rejected_writes(opened)
    except SessionStoreError as error:
        yield failed("fallback", str(error))
        return
    yield from _writes(waiting, rejected)


def _writes(waiting: list[Any], rejected: list[Any]) -> Iterator[Finding]:
    if rejected:
        text = f"refused: {counted(len(rejected), 'write')}, which pending lists"
        yield warning("rejected", text)
    if left := [one for one in waiting if not one.is_owned]:
        what = counted(len(left), "write")
        yield warning("pending", f"waiting: {what}, which no process replays: recover does")
    elif waiting:
        what = counted(len(waiting), "write")
        yield ok("pending", f"waiting: {what}, which a process that runs replays")
    else:
        yield ok("pending", "nothing waits in the fallback")
