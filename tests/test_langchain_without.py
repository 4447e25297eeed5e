"""langchain-core 2.0 is to be without the classes that it has deprecated: all else goes on."""

import pytest
from children import Children

HIDDEN = """
    import sys

    class Gone:
        # As if langchain-core had these modules no more.
        names = {"langchain_core.chat_history", "langchain_core.runnables.history"}

        def find_spec(self, name, path=None, target=None):
            if name in self.names:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Gone())
"""

USES = """
    import asyncio

    import langchain_sessionstore as ours
    from counting_agent import CountingModel, agent
    from langchain.agents import create_agent
    from langchain_core.messages import AIMessage, HumanMessage
    from sessionstore import InMemorySessionStore, Window

    import langchain_sessionstore.demo
    everything = {name: getattr(ours, name) for name in ours.__all__}

    store = InMemorySessionStore()
    config = {"configurable": {"session_id": "s", "user_id": "alice"}}
    chain = ours.with_session_history(CountingModel(), store, user_scoped=True, window=Window())
    print(chain.invoke("one", config).text)
    print(asyncio.run(chain.ainvoke("two", config)).text)
    print("".join(chunk.text for chunk in chain.stream("three", config)))
    print(chain.batch(["four"], [config])[0].text)

    keys = {"input_messages_key": "messages", "output_messages_key": "messages"}
    chain = ours.with_session_history(agent(), store, **keys)
    answer = chain.invoke({"messages": [HumanMessage("five")]}, config)
    print(answer["messages"][-1].text)

    message = AIMessage("six", id="6")
    assert ours.to_langchain(ours.to_session(message)) == message

    remembering = create_agent(
        CountingModel(), middleware=[ours.SessionMiddleware(store, window=Window())]
    )
    print(remembering.invoke({"messages": [("user", "six")]}, config)["messages"][-1].text)
    turn = asyncio.run(remembering.ainvoke({"messages": [("user", "seven")]}, config))
    print(turn["messages"][-1].text, len(store.get_messages("s")))

    history = ours.session_history_factory(store)("s", "alice")
    history.add_messages([HumanMessage("seven")])
    print(len(ours.SessionChatMessageHistory("s", store).messages))
    history.clear()
    history.messages = [message]
    assert ours.SessionChatMessageHistory("s", store).messages == [message]
"""

SAID = """\
1 messages, the last says one
3 messages, the last says two
5 messages, the last says three
7 messages, the last says four
9 messages, the last says five
11 messages, the last says six
13 messages, the last says seven 14
15
"""

NOT_THERE = """
    try:
        from langchain_core.runnables import RunnableWithMessageHistory
    except ImportError:
        print("gone")
"""


@pytest.mark.soak
def test_everything_works_without_langchains_deprecated_classes():
    with Children() as children:
        assert children.run(HIDDEN + NOT_THERE + USES) == "gone\n" + SAID


def test_nothing_warns_while_the_deprecated_classes_are_there(warm):
    # A child turns every warning into an error, from its start.
    with Children(warm) as children:
        assert children.run(USES) == SAID
