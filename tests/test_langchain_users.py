"""Another user's session is refused before the model runs, in each method and each wiring."""

import asyncio
import warnings

import pytest
from counting_agent import CountingModel
from langchain_core.runnables import ConfigurableFieldSpec

from langchain_sessionstore import session_history_factory, with_session_history
from sessionstore import InMemorySessionStore, InvalidSessionError, SessionAccessError


def user(name):
    return {"configurable": {"session_id": "s", "user_id": name}}


async def heard(chunks):
    return [chunk async for chunk in chunks]


METHODS = {
    "invoke": lambda chain, config: chain.invoke("hi", config),
    "ainvoke": lambda chain, config: asyncio.run(chain.ainvoke("hi", config)),
    "stream": lambda chain, config: list(chain.stream("hi", config)),
    "astream": lambda chain, config: asyncio.run(heard(chain.astream("hi", config))),
    "batch": lambda chain, config: chain.batch(["hi"], config),
    "abatch": lambda chain, config: asyncio.run(chain.abatch(["hi"], config)),
    "transform": lambda chain, config: list(chain.transform(iter(["hi"]), config)),
    "astream_events": lambda chain, config: asyncio.run(heard(chain.astream_events("hi", config))),
    "nested": lambda chain, config: (chain | str).invoke("hi", config),
}


def ours(model, store):
    return with_session_history(model, store, user_scoped=True)


def theirs(model, store):
    from langchain_core.runnables.history import RunnableWithMessageHistory  # noqa: PLC0415

    keys = [
        ConfigurableFieldSpec(id=key, annotation=str, default="", is_shared=True)
        for key in ("user_id", "session_id")
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return RunnableWithMessageHistory(
            model, session_history_factory(store), history_factory_config=keys
        )


@pytest.fixture
def store():
    return InMemorySessionStore()


@pytest.mark.parametrize("wiring", [ours, theirs])
@pytest.mark.parametrize("method", METHODS)
def test_another_users_session_is_refused_before_the_model_runs(store, wiring, method):
    model = CountingModel()
    chain = wiring(model, store)
    METHODS[method](chain, user("alice"))
    assert len(model.seen) == 1
    with pytest.raises(SessionAccessError) as caught:
        METHODS[method](chain, user("mallory"))
    assert len(model.seen) == 1
    assert "alice" not in str(caught.value)
    METHODS[method](chain, user("alice"))
    assert [len(seen) for seen in model.seen] == [1, 3]
    assert store.get("s").user_id == "alice"


@pytest.mark.parametrize("wiring", [ours, theirs])
@pytest.mark.parametrize("method", METHODS)
def test_a_call_without_a_user_is_refused_before_the_model_runs(store, wiring, method):
    model = CountingModel()
    with pytest.raises(ValueError, match="user_id"):
        METHODS[method](wiring(model, store), {"configurable": {"session_id": "s"}})
    assert model.seen == []
    assert store.get("s") is None


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_server_can_check_whose_a_session_is_before_it_streams(store, kind):
    model = CountingModel()
    chain = ours(model, store)

    def check(config):
        return chain.check(config) if kind == "sync" else asyncio.run(chain.acheck(config))

    check(user("alice"))
    assert store.get("s") is None
    chain.invoke("hi", user("alice"))
    check(user("alice"))
    with pytest.raises(SessionAccessError):
        check(user("mallory"))
    with pytest.raises(InvalidSessionError):
        check({"configurable": {"session_id": "s"}})
    assert len(model.seen) == 1


@pytest.mark.parametrize("nobody", [None, ""])
def test_a_user_id_of_none_is_no_user(store, nobody):
    model = CountingModel()
    with pytest.raises(InvalidSessionError):
        ours(model, store).invoke("hi", user(nobody))
    assert model.seen == []


def test_a_refused_item_of_a_batch_stops_no_other(store):
    model = CountingModel()
    chain = ours(model, store)
    chain.invoke("hi", user("alice"))
    results = chain.batch(["a", "b"], [user("mallory"), user("alice")], return_exceptions=True)
    assert isinstance(results[0], SessionAccessError)
    assert results[1].text == "3 messages, the last says b"
    assert len(model.seen) == 2


def test_without_user_scoped_a_user_in_the_config_is_still_the_owner(store):
    model = CountingModel()
    chain = with_session_history(model, store)
    chain.invoke("hi", user("alice"))
    with pytest.raises(SessionAccessError):
        chain.invoke("hi", user("mallory"))
    assert len(model.seen) == 1
    assert store.get("s").user_id == "alice"
    with pytest.raises(InvalidSessionError):
        chain.invoke("hi", user(""))


def test_without_user_scoped_a_call_may_name_no_user(store):
    chain = with_session_history(CountingModel(), store)
    for config in (user(None), {"configurable": {"session_id": "s"}}):
        chain.invoke("hi", config)
    assert store.get("s").user_id is None
    assert len(store.get_messages("s")) == 4
