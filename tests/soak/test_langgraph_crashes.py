"""A process that dies at each step of replaying what graphs did in an outage."""

from __future__ import annotations

from children import Children

DIES_AT_EACH_STEP = """
    import os, signal, sys
    from itertools import count
    from graphs import approval
    from langgraph.types import Command
    from langgraph_sessionstore import FallbackCheckpointer
    from savers import CutFile

    folder = sys.argv[1]
    config = {"configurable": {"thread_id": "t"}}

    class Mortal(CutFile):
        steps_left = -1

        def _reach(self):
            super()._reach()
            self.step()

        def _answer(self):
            self.step()

        def step(self):
            self.steps_left -= 1
            if self.steps_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def opened(number, steps_left=-1):
        saver = Mortal(f"{folder}/{number}.db")
        saver.steps_left = steps_left
        return saver, FallbackCheckpointer(saver, fallback=f"sqlite:///{folder}/{number}.journal")

    def in_child(life):
        child = os.fork()
        if child == 0:
            try:
                life()
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def writes(number):
        saver, checkpointer = opened(number)
        graph = approval().compile(checkpointer=checkpointer)
        graph.invoke({"log": ["a"]}, config, durability="sync")
        saver.is_away = True
        checkpointer.delete_thread("t")
        graph.invoke({"log": ["b"]}, config, durability="sync")
        graph.invoke(Command(resume="yes"), config, durability="sync")

    def replays(number):
        saver, checkpointer = opened(number, number)
        assert checkpointer.recover()

    for number in count(1):
        assert in_child(lambda: writes(number)) == 0
        died = in_child(lambda: replays(number))
        saver, checkpointer = opened(number)
        assert checkpointer.recover()
        assert checkpointer.rejected() == checkpointer.pending() == []
        alone = approval().compile(checkpointer=saver)
        history = [(each.values, each.next) for each in alone.get_state_history(config)]
        print(history, flush=True)
        checkpointer.close()
        saver.close()
        if died == 0:
            break
"""


def test_a_crash_at_any_step_of_a_replay_is_harmless(tmp_path):
    with Children() as children:
        *states, _ = children.run(DIES_AT_EACH_STEP, tmp_path).split("\n")
    assert len(states) > 10
    assert len(set(states)) == 1
