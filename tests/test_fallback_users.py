"""Several users of one session that was not seen before its outage: nobody keeps its owner out."""

from __future__ import annotations

import pytest
from test_fallback_faults import Stage, said

from sessionstore import SessionAccessError


def unseen(owner: str | None = "alice") -> Stage:
    stage = Stage()
    if owner:
        stage.primary.inner.create("s", user_id=owner, messages=said("hers"))
    stage.primary.go_down()
    return stage


def ids(stage: Stage, user_id: str | None) -> list[str | None]:
    return [message.id for message in stage.store.get_messages("s", user_id=user_id)]


@pytest.mark.parametrize("first", ["append", "create"])
@pytest.mark.parametrize("intruder", ["bob", None])
def test_another_users_first_write_does_not_keep_the_owner_out(
    first: str, intruder: str | None
) -> None:
    stage = unseen()
    if first == "append":
        stage.store.append_messages("s", said("theirs"), user_id=intruder)
    else:
        stage.store.create("s", messages=said("theirs"), user_id=intruder)
    assert ids(stage, "alice") == []
    assert stage.store.append_messages("s", said("a"), user_id="alice") == 1
    assert stage.store.append_messages("s", said("b"), user_id="alice") == 1
    assert ids(stage, "alice") == ["a", "b"]
    assert ids(stage, intruder) == ["theirs"]
    stage.crash()
    assert ids(stage, "alice") == ["a", "b"]
    assert ids(stage, intruder) == ["theirs"]
    stage.primary.come_back()
    assert stage.store.recover()
    if intruder:
        assert stage.kept() == ["hers", "a", "b"]
        assert [write.operation.user_id for write in stage.store.rejected()] == ["bob"]
        with pytest.raises(SessionAccessError):
            stage.store.get("s", user_id="bob")
    else:  # who names no user is trusted
        assert stage.kept() == ["hers", "theirs", "a", "b"]
    assert ids(stage, "alice") == stage.kept()


def test_nobody_reads_or_changes_what_another_user_wrote() -> None:
    stage = unseen(owner=None)
    stage.store.append_messages("s", said("secret"), user_id="alice")
    assert stage.store.get("s", user_id="mallory") is None
    assert stage.store.get_messages("s", user_id="mallory") == []
    assert stage.store.append_messages("s", said("secret"), user_id="mallory") == 1
    assert ids(stage, "alice") == ["secret"]
    stage.primary.come_back()
    assert stage.store.recover()
    assert stage.kept() == ["secret"]
    assert stage.primary.inner.get("s").user_id == "alice"
    assert [write.operation.user_id for write in stage.store.rejected()] == ["mallory"]


def test_the_owner_that_the_primary_named_is_enforced_in_an_outage() -> None:
    stage = unseen()
    stage.primary.come_back()
    assert ids(stage, "alice") == ["hers"]
    stage.primary.go_down()
    with pytest.raises(SessionAccessError):
        stage.store.append_messages("s", said("theirs"), user_id="bob")


def test_separate_views_of_users_end_with_the_outage() -> None:
    stage = unseen()
    for user_id in ("bob", "carol", "alice"):
        stage.store.append_messages("s", said(user_id), user_id=user_id)
    stage.primary.come_back()
    assert stage.store.recover()
    assert not stage.store._parts.cache.has_views
    assert stage.kept() == ["hers", "alice"]
