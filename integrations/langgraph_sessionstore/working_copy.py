"""`WorkingCopy`: what the threads in use need to go on without the primary, in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from threading import RLock

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, get_checkpoint_metadata
from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_sessionstore.arguments import ListArguments, PutArguments, WritesArguments
from langgraph_sessionstore.calls import Call, Delete, Put, PutWrites
from langgraph_sessionstore.configs import (
    checkpoint_id_of,
    key_of,
    names_of,
    namespace_of,
    thread_of,
)
from langgraph_sessionstore.held import Held
from langgraph_sessionstore.threads import Thread
from sessionstore import OutageError
from sessionstore.integration import at_fork

__all__ = ["WorkingCopy"]

_STEPS = 10


class WorkingCopy:
    """What is known of the threads that were last used; nothing is encoded before it is needed.

    Args:
        max_threads: How many threads; the one that was not used for the longest time leaves first.
        is_held: Tells whether the journal holds something of a thread: then it does not leave.
        raises: What was never seen is not to be taken for empty.
    """

    def __init__(self, max_threads: int, is_held: Callable[[str], bool], *, raises: bool) -> None:
        self.renew_lock()
        at_fork(in_child=self.renew_lock)
        self._threads: OrderedDict[str, Thread] = OrderedDict()
        self._max_threads = max_threads
        self._is_held = is_held
        self._raises = raises

    def renew_lock(self) -> None:
        """Have a lock that nobody holds: in a forked child."""
        self._lock = RLock()

    # -- While the primary answers ----------------------------------------------------------------

    def stamp(self, thread_id: str) -> int:
        """Tell one state of what is known of a thread from others."""
        thread = self._threads.get(thread_id)
        return -1 if thread is None else thread.changes

    def learn(self, config: RunnableConfig, answer: CheckpointTuple | None, stamp: int) -> None:
        """Take note of what the primary gave, unless something was put meanwhile."""
        thread_id, namespace = thread_of(config), namespace_of(config)
        with self._lock:
            if self.stamp(thread_id) != stamp:
                return
            if answer is None and checkpoint_id_of(config) is not None:
                return
            thread = self._use(thread_id)
            if answer is None:
                thread.note_empty(namespace)
            elif checkpoint_id_of(config) is not None:
                _take_chosen(thread, namespace, answer)
            else:
                _take_answer(thread, namespace, answer)

    def put(self, asked: PutArguments) -> None:
        """Take note of a checkpoint that the primary has taken."""
        config, checkpoint = asked.config, asked.checkpoint
        merged = get_checkpoint_metadata(config, asked.metadata)
        namespace, checkpoint_id = namespace_of(config), checkpoint["id"]
        with self._lock:
            thread = self._use(thread_of(config))
            held = thread.hold(namespace, checkpoint_id)
            held.take(checkpoint, merged, checkpoint_id_of(config), ours=True)
            thread.is_delta = thread.is_delta or held.is_delta
            thread.keep_latest(namespace, checkpoint_id)

    def put_writes(self, asked: WritesArguments) -> None:
        """Take note of writes that the primary has taken."""
        config = asked.config
        namespace, checkpoint_id = namespace_of(config), checkpoint_id_of(config) or ""
        with self._lock:
            thread = self._use(thread_of(config))
            latest, held = thread.latest(namespace), thread.namespaces.get(namespace, {})
            if latest is None or checkpoint_id in held or checkpoint_id >= latest.checkpoint_id:
                thread.hold(namespace, checkpoint_id).take_writes(asked)

    def forget(self, thread_ids: Sequence[str] | None = None) -> None:
        """Know no more of some threads, or of all, than that they were seen."""
        with self._lock:
            for thread_id in list(self._threads) if thread_ids is None else thread_ids:
                self._renew(str(thread_id)).note_more()

    def _renew(self, thread_id: str, *, is_whole: bool = False) -> Thread:
        before = self._use(thread_id)
        thread = self._threads[thread_id] = Thread(thread_id, is_whole=is_whole)
        thread.changes = before.changes + 1
        thread.is_delta = before.is_delta and not is_whole
        return thread

    def delete(self, thread_id: str) -> None:
        """Take note that a thread is empty."""
        with self._lock:
            self._renew(thread_id, is_whole=True)

    # -- Without it -------------------------------------------------------------------------------

    def is_delta(self, thread_id: str) -> bool:
        """Tell whether a thread is known to store some of its channels as differences."""
        thread = self._threads.get(thread_id)
        return thread is not None and thread.is_delta

    def is_unknown(self, thread_id: str) -> bool:
        """Tell whether a thread was never seen, where such a one is not to go on."""
        thread = self._threads.get(thread_id)
        return self._raises and (thread is None or thread.is_forgotten)

    def known_calls(self, serde: SerializerProtocol, thread_id: str) -> list[Call]:
        """Give what is known of a thread, for a journal that begins."""
        with self._lock:
            thread = self._threads.get(thread_id)
            found = [] if thread is None else thread.everything()
        return [
            call for namespace, held in found for call in held.as_calls(serde, thread_id, namespace)
        ]

    def add(self, call: Call) -> None:
        """Take note of a call that is journaled."""
        if isinstance(call, Delete):
            self.delete(call.thread_id)
            return
        with self._lock:
            thread = self._use(call.thread_id)
            if not thread.namespaces and _begins(call):
                thread.is_begun = True
            held = thread.hold(call.checkpoint_ns, call.checkpoint_id)
            if isinstance(call, PutWrites):
                held.take_writes_call(call)
            elif not (call.known and held.is_whole):
                held.take_call(call)

    def tear(self, thread_id: str) -> None:
        """Take note that the journal holds something of a thread that can't be read."""
        with self._lock:
            self._use(thread_id).is_torn = True

    def read(self, serde: SerializerProtocol, config: RunnableConfig) -> CheckpointTuple | None:
        """Give a checkpoint.

        Raises:
            OutageError: It can't be told until the primary is back.
        """
        thread_id, namespace = thread_of(config), namespace_of(config)
        checkpoint_id = checkpoint_id_of(config)
        with self._lock:
            thread = self._threads.get(thread_id) or Thread(thread_id)
            held = thread.find(namespace, checkpoint_id, raises=self._raises)
            if held is None and thread.is_unseen and checkpoint_id is None and not namespace:
                self._use(thread_id).is_begun = True
        return None if held is None else held.as_tuple(serde, thread_id, namespace)

    def known(self, serde: SerializerProtocol, asked: ListArguments) -> Iterator[CheckpointTuple]:
        """Give the checkpoints that are known, the newest first.

        Raises:
            OutageError: The thread was never seen, and such a one is not to be taken for empty.
        """
        if asked.config is not None:
            self._require_known(thread_of(asked.config))
        until = checkpoint_id_of(asked.before) if asked.before else None
        limit, wanted = asked.limit, (asked.filter or {}).items()
        for thread_id, namespace, held in self._chosen(asked.config):
            if limit is not None and limit <= 0:
                return
            if until is not None and held.checkpoint_id >= until:
                continue
            found = held.as_tuple(serde, thread_id, namespace)
            if all(found.metadata.get(key) == value for key, value in wanted):
                limit = None if limit is None else limit - 1
                yield found

    def _require_known(self, thread_id: str) -> None:
        if self.is_unknown(thread_id):
            raise OutageError(
                "this thread was not seen before the checkpointer's primary went away"
            )

    def _chosen(self, config: RunnableConfig | None) -> list[tuple[str, str, Held]]:
        asked = names_of(config).get("checkpoint_ns") if config else None
        checkpoint_id = checkpoint_id_of(config) if config else None
        with self._lock:  # what is being put now is not to be seen half done
            known = list(self._known_of(config, asked))
        chosen = [each for each in known if checkpoint_id in (None, each[2].checkpoint_id)]
        return sorted(chosen, key=lambda each: each[2].checkpoint_id, reverse=True)

    def _known_of(
        self, config: RunnableConfig | None, namespace: str | None
    ) -> Iterator[tuple[str, str, Held]]:
        for thread in list(self._threads.values()):
            if config is None or thread.thread_id == thread_of(config):
                for name, held in thread.all(namespace):
                    yield thread.thread_id, name, held

    # -- Bounds -----------------------------------------------------------------------------------

    def _use(self, thread_id: str) -> Thread:
        thread = self._threads.get(thread_id)
        if thread is None:
            thread = self._threads[thread_id] = Thread(thread_id)
            self._keep_bounds(thread_id)
        self._threads.move_to_end(thread_id)
        return thread

    def _keep_bounds(self, used: str) -> None:
        for _ in range(_STEPS):  # bounded: those that the journal holds are passed over
            if len(self._threads) <= self._max_threads:
                return
            oldest = next(iter(self._threads))
            if oldest == used or self._is_held(key_of(oldest)):
                self._threads.move_to_end(oldest)
            else:
                del self._threads[oldest]


def _begins(call: Put | PutWrites) -> bool:
    first = isinstance(call, Put) and call.parent_id is None and not call.known
    return first and not call.checkpoint_ns


def _take_answer(thread: Thread, namespace: str, answer: CheckpointTuple) -> None:
    checkpoint_id, pending = answer.checkpoint["id"], answer.pending_writes or []
    known = thread.latest(namespace)
    ours = known is not None and known.checkpoint_id == checkpoint_id and known.ours
    if known is None:
        thread.note_more()
    elif known.checkpoint_id != checkpoint_id or known.lacks(pending):
        thread.note_others(namespace)
        ours = False
    thread.forget_namespace(namespace)
    held = thread.hold(namespace, checkpoint_id)
    parent = checkpoint_id_of(answer.parent_config) if answer.parent_config else None
    held.take(answer.checkpoint, dict(answer.metadata), parent, ours=ours)
    held.take_pending(pending)
    thread.is_delta = thread.is_delta or held.is_delta
    thread.is_torn = False


def _take_chosen(thread: Thread, namespace: str, answer: CheckpointTuple) -> None:
    """Take note of a checkpoint that was asked for by its id: it may be an old one."""
    latest, checkpoint_id = thread.latest(namespace), answer.checkpoint["id"]
    held = thread.namespaces.get(namespace, {}).get(checkpoint_id)
    if latest is not None and checkpoint_id >= latest.checkpoint_id:
        _take_answer(thread, namespace, answer)
    elif held is not None and held.is_whole:
        held.take_pending(answer.pending_writes or [])
    elif latest is None:
        thread.note_more()
