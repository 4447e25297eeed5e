"""A program that dies at its n-th step of replaying an outage's writes, for each n."""

DIES = """
    import os, signal, sys
    from itertools import count

    from faults import FaultyStore
    from sessionstore import (
        FallbackSessionStore, RedisSessionStore, SessionMessage, SQLiteSessionStore,
    )

    url, folder, stride = sys.argv[1:]
    steps_left = 0


    def step():
        global steps_left
        steps_left -= 1
        if steps_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


    class Mortal(FaultyStore):
        def run(self, operation):
            step()
            result = super().run(operation)
            step()
            return result


    def lived(life):
        child = os.fork()
        if child == 0:
            try:
                life()
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


    def say(id, text="x"):
        return SessionMessage("user", text, id=id)


    def opened(number, wrapped=lambda store: store):
        journal = SQLiteSessionStore(f"{folder}/{number}.db", synchronous="NORMAL")
        primary = RedisSessionStore(url, key_prefix=f"{folder}:{number}:")
        return FallbackSessionStore(wrapped(primary), fallback=wrapped(journal))


    def write_in_an_outage(number):
        store = opened(number, FaultyStore)
        for session_id in "acde":
            store.append_messages(session_id, [say("0"), say("1")], user_id="u")
        store.wrapped.go_down()
        for text in "234":
            store.append_message("a", say(text), user_id="u")
        store.create("b", messages=[say("0")], metadata={"title": "b"}, user_id="u")
        store.append_message("b", say("1"), user_id="u")
        store.replace_message("c", say("1", "new"), user_id="u")
        store.update("c", metadata={"title": "c"}, user_id="u")
        store.append_message("c", say("2"), user_id="u")
        store.update("d", messages=[say("1"), say("3")], user_id="u")
        store.append_message("d", say("4"), user_id="u")
        store.delete("e", user_id="u")
        store.append_message("e", say("5"), user_id="u")


    def replay(number):
        global steps_left
        steps_left = number
        opened(number, Mortal).recover()
        assert steps_left > 0


    def look(number):
        store = opened(number)
        assert store.recover() and store.rejected() == []
        for session_id in "abcde":
            session = store.wrapped.get(session_id, user_id="u")
            said = [f"{m.id} {m.content}" for m in session.messages]
            print(session_id, session.metadata, said)
        print("-")


    for number in count(1, int(stride)):
        assert lived(lambda: write_in_an_outage(number)) == 0
        status = lived(lambda: replay(number))
        assert status in (0, -signal.SIGKILL), status
        assert lived(lambda: look(number)) == 0
        if status == 0:
            break
    print(number)
"""
AFTERWARDS = """\
a {} ['0 x', '1 x', '2 x', '3 x', '4 x']
b {'title': 'b'} ['0 x', '1 x']
c {'title': 'c'} ['0 x', '1 new', '2 x']
d {} ['1 x', '3 x', '4 x']
e {} ['5 x']
"""
